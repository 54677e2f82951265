//! A short `make soak`: every fault at random, kills, lost and doubled events, and nothing lost. The seed is fixed; how
//! the processes interleave is not.

mod harness;

use std::path::Path;
use std::time::Duration;

use ivs_attendance_local::soak::run;
use ivs_attendance_local::soak::settings::Settings;

use crate::harness::{BOOTSTRAP, FOLDER};

#[tokio::test]
async fn nothing_is_lost_doubled_torn_live_or_half_collected_whatever_fails() {
    let parent = Path::new(FOLDER);
    let bootstrap = Path::new(BOOTSTRAP);
    let settings = Settings {
        seed: 4,
        sessions: 60,
        chaos: Duration::from_secs(20),
        factor: 225,
    };
    let report = run(bootstrap, parent, settings).await.expect("it starts");
    assert!(report.is_clean(), "{report}");
    let kinds = report.faults.len();
    assert!(report.kills > 0 && kinds > 20, "it was a soak: {report}");
    assert!(report.collected > 20, "it collected: {report}");
    for error_type in ["Panic", "SessionTooLarge"] {
        assert!(report.failures.contains_key(error_type), "{report}");
    }
}
