//! A proxy in the environment is never asked for a server on the loopback address: `.cargo/config.toml` sees to it for all
//! tests.

use std::process::Command;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use ivs_attendance_local::s3::S3;
use ivs_attendance_local::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY};

#[test]
fn a_dead_proxy_in_the_environment_changes_nothing() {
    let itself = std::env::current_exe().unwrap();
    let mut again = Command::new(itself);
    again.args(["--exact", "behind_a_dead_proxy", "--ignored"]);
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        again.env(variable, "http://127.0.0.1:9");
    }
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by a_dead_proxy_in_the_environment_changes_nothing"]
async fn behind_a_dead_proxy() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let s3 = S3::start(folder.path(), BUCKET).await.unwrap();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(
            ACCESS_KEY, SECRET_KEY, None, None, "local",
        ))
        .endpoint_url(s3.url())
        .force_path_style(true);
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let listed = client.list_objects_v2().bucket(BUCKET).send().await;
    assert!(listed.is_ok(), "{listed:?}");
}
