//! What the server sends, faults and all. Requests are not signed here; those of the function's tests are.

use std::time::Duration;

use ivs_attendance_local::faults::{S3Kind, When};
use ivs_attendance_local::s3::{S3, S3Request};
use tempfile::TempDir;

use crate::client::{self, End, Seen};

const PATIENCE: Duration = Duration::from_secs(5);
const OBJECT: &str = "/lake/dt%3D2026-11-23/one.parquet";
const KEY: &str = "dt=2026-11-23/one.parquet";

async fn bucket() -> (S3, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let s3 = S3::start_unsigned(folder.path(), "lake").await;
    (s3.expect("a free port"), folder)
}

async fn send(s3: &S3, method: &str, path: &str, headers: &str, body: &str) -> Seen {
    client::send(
        s3.url(),
        &format!("{method} {path}"),
        headers,
        body,
        PATIENCE,
    )
    .await
}

async fn put(s3: &S3, condition: &str, body: &str) -> Seen {
    send(s3, "PUT", OBJECT, condition, body).await
}

fn last(s3: &S3) -> S3Request {
    s3.requests().pop().expect("a request")
}

#[tokio::test]
async fn conditions_are_answered_as_s3_does() {
    let (s3, _folder) = bucket().await;
    let some = "if-match: \"0123456789abcdef0123456789abcdef\"\r\n";
    let missing = put(&s3, some, "x").await;
    assert_eq!(missing.status, 404, "nothing to match: {missing:?}");
    assert!(String::from_utf8_lossy(&missing.body).contains("<Code>NoSuchKey</Code>"));
    assert_eq!(put(&s3, "if-none-match: *\r\n", "one").await.status, 200);
    assert_eq!(put(&s3, "if-none-match: *\r\n", "two").await.status, 412);
    assert_eq!(put(&s3, some, "three").await.status, 412);
    let head = send(&s3, "HEAD", OBJECT, "", "").await;
    let etag = head.header("etag").expect("an ETag");
    assert_eq!(
        put(&s3, &format!("if-match: {etag}\r\n"), "four")
            .await
            .status,
        200
    );
    assert_eq!(s3.read(KEY), "four");
    assert_eq!(s3.unconditional_puts().len(), 0);
    put(&s3, "", "five").await;
    let puts = s3.unconditional_puts();
    assert_eq!((puts.len(), puts[0].path.as_str()), (1, OBJECT));
}

#[tokio::test]
async fn a_fault_can_be_an_error_of_the_service() {
    let (s3, _folder) = bucket().await;
    put(&s3, "if-none-match: *\r\n", "one").await;
    let requests = [
        ("HEAD", "HEAD", OBJECT, ""),
        ("GET", "GET", OBJECT, ""),
        ("LIST", "GET", "/lake?list-type=2&prefix=dt", ""),
        ("PUT", "PUT", OBJECT, "if-match: *\r\n"),
        ("PUT", "PUT", OBJECT, ""),
        ("DELETE", "DELETE", "/lake/other", ""),
    ];
    for (kind, status, code, hits) in [
        (S3Kind::Forbidden403, 403, "AccessDenied", [true; 6]),
        (S3Kind::Error500, 500, "InternalError", [true; 6]),
        (S3Kind::SlowDown503, 503, "SlowDown", [true; 6]),
        (
            S3Kind::PreconditionFailed412,
            412,
            "PreconditionFailed",
            [false, false, false, true, false, false],
        ),
        (
            S3Kind::Conflict409,
            409,
            "ConditionalRequestConflict",
            [false, false, false, true, false, false],
        ),
        (
            S3Kind::NoSuchKey404,
            404,
            "NoSuchKey",
            [true, true, false, true, false, false],
        ),
    ] {
        for ((operation, method, path, condition), hit) in requests.into_iter().zip(hits) {
            s3.clear_faults();
            s3.fault(operation, When::Nth(1), kind);
            let about = format!("{operation} {condition} {kind:?}");
            let seen = send(&s3, method, path, condition, "").await;
            assert_eq!(seen.status == status, hit, "{about}: {seen:?}");
            let body = String::from_utf8_lossy(&seen.body);
            let told = body.contains(&format!("<Code>{code}</Code>"));
            assert_eq!(told, hit && method != "HEAD", "{about}: {body}");
            let entry = last(&s3);
            assert_eq!(
                (entry.operation.as_str(), entry.status),
                (operation, seen.status)
            );
            assert_eq!(entry.faults, [kind]);
            let again = send(&s3, method, path, condition, "").await;
            assert!(again.status < 300, "only once, {about}: {again:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_is_reset_before_a_write_or_after_it() {
    let (s3, _folder) = bucket().await;
    for (kind, written) in [
        (S3Kind::ResetBefore, false),
        (S3Kind::ResetAfterWrite, true),
    ] {
        s3.clear_faults();
        s3.fault("PUT", When::Always, kind);
        let seen = put(&s3, "if-none-match: *\r\n", "one").await;
        assert_eq!((seen.status, seen.end), (0, End::Reset), "{kind:?}");
        assert_eq!(last(&s3).status, 0);
        assert_eq!(s3.keys().len(), usize::from(written), "{kind:?}");
    }
    assert_eq!(s3.read(KEY), "one");
}

#[tokio::test]
async fn no_answer_is_no_answer_and_no_write_and_hinders_nobody() {
    let (s3, _folder) = bucket().await;
    s3.fault("PUT", When::Nth(1), S3Kind::NoAnswer);
    let patience = Duration::from_millis(150);
    let line = format!("PUT {OBJECT}");
    let seen = client::send(s3.url(), &line, "if-none-match: *\r\n", "one", patience).await;
    assert_eq!((seen.status, seen.end), (0, End::Open));
    assert_eq!((last(&s3).status, s3.keys().len()), (0, 0));
    assert_eq!(put(&s3, "if-none-match: *\r\n", "two").await.status, 200);
}

#[tokio::test]
async fn a_slow_request_waits_before_it_is_handled() {
    let (s3, _folder) = bucket().await;
    s3.fault(
        "PUT",
        When::Nth(1),
        S3Kind::Slow(Duration::from_millis(200)),
    );
    let begin = std::time::Instant::now();
    assert_eq!(put(&s3, "if-none-match: *\r\n", "one").await.status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_body_is_cut_in_the_middle() {
    let (s3, _folder) = bucket().await;
    put(&s3, "if-none-match: *\r\n", "0123456789").await;
    s3.fault("*", When::Always, S3Kind::CutBody);
    let seen = send(&s3, "GET", OBJECT, "", "").await;
    assert_eq!(
        (seen.status, seen.body.as_slice(), seen.end),
        (200, &b"01234"[..], End::Reset)
    );
    assert_eq!(seen.length(), Some(10));
    let seen = send(&s3, "GET", "/lake?list-type=2", "", "").await;
    assert_eq!(seen.end, End::Reset);
    assert!(Some(seen.body.len()) < seen.length());
    assert_eq!(send(&s3, "HEAD", OBJECT, "", "").await.end, End::Closed);
}
