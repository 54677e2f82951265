//! `make report`: on files of the real function, and held against the model of `tests/athena/`. What the page does in a browser
//! is in `tests/browse_report.py`, which needs one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::path::Path;
use std::process::{Command, Output};

use ivs_attendance_local::lambda::stack::Stack;
use ivs_attendance_local::scene::{
    QUICK, SESSION_ID as SESSION, STAGE_ARN as STAGE, ended, request,
};
use serde_json::json;

use crate::harness::{BOOTSTRAP, FOLDER};

/// So many that the time line cannot show all. `make report-browser` takes 10,000.
const PEOPLE: &str = "1000";

async fn output(mut command: Command) -> Output {
    // Meanwhile this thread is S3.
    let output = tokio::task::spawn_blocking(move || command.output());
    output.await.unwrap().unwrap()
}

fn make_report(lake: &Path, session: &str, page: &Path) -> Command {
    let mut make = Command::new("make");
    make.args(["--silent", "report"])
        .arg(format!("LAKE={}", lake.display()))
        .arg(format!("SESSION={session}"))
        .arg(format!("OUT={}", page.display()))
        .env_remove("STAGE");
    make
}

#[tokio::test]
async fn a_collected_session_has_a_page_on_which_a_hostile_user_id_is_text() {
    let (mut stack, folder) = Stack::temporary(Path::new(BOOTSTRAP), Path::new(FOLDER), &QUICK)
        .await
        .unwrap();
    let mut session = ended(3, 120);
    session.participants[0].user_id = Some("<img src=x onerror=alert(1)>".to_owned());
    stack.ivs.world().put(STAGE, SESSION, session);
    stack.invoke(request(STAGE, SESSION)).await.unwrap();
    let collect = json!({ "collect": request(STAGE, SESSION) });
    stack.invoke(collect).await.unwrap();

    let attendance = stack.s3.path("attendance");
    let lake = attendance.parent().unwrap();
    let page = folder.path().join("page.html");
    let made = output(make_report(lake, SESSION, &page)).await;
    assert!(made.status.success(), "{made:?}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<bdi>&lt;img src=x onerror=alert(1)&gt;</bdi>"));
    assert!(!page.contains("<img"));
    assert!(page.contains(r#"<dd id="participants">3<small>"#));

    let page = folder.path().join("unknown.html");
    let refused = output(make_report(lake, "st-Unknown000000", &page)).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    let quoted = "error: SESSION='st-Unknown000000' is not in ";
    assert!(said.starts_with(quoted), "{said}");
    assert!(!page.exists());
}

#[test]
fn every_number_of_a_page_is_the_models_and_strangers_strings_do_nothing() {
    let folder = tempfile::tempdir_in(FOLDER).unwrap();
    let checked = Command::new(".venv/bin/python3")
        .args(["-B", "tests/check_report.py"])
        .arg(folder.path())
        .arg(PEOPLE)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
