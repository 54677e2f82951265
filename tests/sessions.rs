//! The table `sessions`, written by the sweeps of the real binary: every session that IVS lists or ever listed, and nothing put
//! without news.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SubsecRound, TimeDelta, Utc};
use ivs_attendance::session::SessionRef;
use ivs_attendance_local::faults::{S3Kind, When};
use ivs_attendance_local::ivs::world::{Labels, Session, timestamp};
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings};
use ivs_attendance_local::scene::{
    PATIENCE, QUICK, ended, live, now, put_placeholder, session, stage,
};
use ivs_attendance_local::{BUCKET, scene};
use serde_json::{Value, json};

use crate::harness::{BOOTSTRAP, FOLDER};

/// Nothing is collected, unless a variable says otherwise: most files here are placeholders.
async fn circle(variables: &[(&str, &str)]) -> Circle {
    let settings = CircleSettings::at(20)
        .with(&QUICK)
        .with(&[("COLLECT", "nobody")])
        .with(variables);
    let circle = Circle::without_quota(BOOTSTRAP, FOLDER, settings);
    circle.await.unwrap()
}

async fn sweep(circle: &Circle, options: Value) -> Value {
    let answer = circle.invoke(json!({ "sweep": options }));
    answer.await.unwrap().unwrap()
}

/// A session of two that started so many days before now, at noon, and ended an hour later.
fn days_ago(days: i64) -> Session {
    let noon = (now() - TimeDelta::days(days))
        .date_naive()
        .and_hms_opt(12, 0, 0);
    let start = noon.unwrap().and_utc();
    Session {
        start_time: Some(start),
        end_time: Some(start + TimeDelta::hours(1)),
        ..ended(2, 0)
    }
}

/// Puts a session, with placeholders of all its files, last written in the two hours after its end.
fn put_with_files(circle: &Circle, stage_arn: &str, session_id: &str, what: Session) {
    let end = what.end_time.unwrap();
    let day = what.start_time.unwrap().date_naive();
    let stem = stem(stage_arn, session_id);
    for (table, hours) in [("participants", 1), ("attendance", 2)] {
        let key = format!("{table}/dt={day}/{stem}.parquet");
        put_placeholder(&circle.s3, &key, end + TimeDelta::hours(hours)).unwrap();
    }
    circle.ivs.world().put(stage_arn, session_id, what);
}

fn stem(stage_arn: &str, session_id: &str) -> String {
    let name = SessionRef {
        stage_arn: stage_arn.parse().unwrap(),
        session_id: session_id.parse().unwrap(),
    };
    name.file_stem()
}

fn key(day: NaiveDate) -> String {
    format!("sessions/dt={day}/sessions.parquet")
}

fn day_of(session: &Session) -> NaiveDate {
    session.start_time.unwrap().date_naive()
}

/// The keys of the table.
fn keys(circle: &Circle) -> Vec<String> {
    let mut keys = circle.s3.keys();
    keys.retain(|key| key.starts_with("sessions/"));
    keys
}

/// The table as pyarrow reads it: each file's rows, in the order of the days.
fn rows(circle: &Circle) -> Vec<Value> {
    let rows = keys(circle).into_iter().flat_map(|key| {
        let output = Command::new(".venv/bin/python3")
            .arg("tests/read_parquet.py")
            .arg(circle.s3.path(&key))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let file: Value = serde_json::from_slice(&output.stdout).unwrap();
        let tags = file["arrow"]["stage_tags"].as_str().unwrap().to_owned();
        assert!(tags.starts_with("map<string, string"), "{tags}");
        file["rows"].as_array().unwrap().clone()
    });
    rows.collect()
}

fn row<'a>(rows: &'a [Value], session_id: &str) -> &'a Value {
    let row = rows.iter().find(|row| row["session_id"] == session_id);
    row.unwrap()
}

/// As [`rows`] shows a time.
fn shown(time: impl Into<DateTime<Utc>>) -> Value {
    let text = time.into().format("%Y-%m-%dT%H:%M:%S%.3f+00:00");
    text.to_string().into()
}

/// The requests for objects and lists since there were so many, as operation and key.
fn requests_since(circle: &Circle, before: usize) -> Vec<(String, String)> {
    let requests = circle.s3.requests().into_iter().skip(before);
    let of_bucket = format!("/{BUCKET}/");
    requests
        .map(|it| {
            let key = it.path.replacen(&of_bucket, "", 1);
            (it.operation, key.replace("%3D", "="))
        })
        .collect()
}

fn count(requests: &[(String, String)], operation: &str) -> usize {
    requests.iter().filter(|it| it.0 == operation).count()
}

#[tokio::test]
async fn a_row_tells_how_far_a_session_is() {
    let circle = circle(&[("COLLECT", "everyone")]).await;
    circle.ivs.world().labels.extend([
        (
            stage(0),
            Labels::new("Morning", &[("team", "blue"), ("env", "")]),
        ),
        (
            stage(1),
            Labels {
                name: None,
                tags: None,
            },
        ),
    ]);
    let empty = Session {
        participants: Vec::new(),
        ..ended(0, 90)
    };
    for (number, what) in [
        (0, live()),
        (1, ended(2, 90)),
        (2, ended(2, 91)),
        (3, ended(2, 92)),
        (4, ended(2, 93)),
        (5, empty),
    ] {
        circle
            .ivs
            .world()
            .put(&stage(number % 2), &session(number), what);
    }
    // The first is live, the second is missing, the third fails. The others are exported, and one of these is collected.
    let failed = now() - TimeDelta::minutes(10);
    let marker = format!("failed/{}", stem(&stage(0), &session(2)));
    put_placeholder(&circle.s3, &marker, failed).unwrap();
    for number in [3, 4, 5] {
        let request = scene::request(&stage(number % 2), &session(number));
        let report = circle.invoke(request).await.unwrap().unwrap();
        assert_eq!(report["outcome"], "exported");
    }
    let request = scene::request(&stage(0), &session(4));
    let report = circle.invoke(json!({ "collect": request })).await;
    assert_eq!(report.unwrap().unwrap()["outcome"], "collected");
    let written = |table: &str, number: usize| {
        let stem = stem(&stage(number % 2), &session(number));
        let keys = circle.s3.keys().into_iter();
        let mut keys = keys.filter(|key| key.starts_with(table) && key.contains(&stem));
        keys.next().map(|key| {
            let time: DateTime<Utc> = circle.s3.last_modified(&key).into();
            shown(time.trunc_subsecs(3))
        })
    };
    let expected: Vec<_> = (0..6)
        .map(|number| {
            let what = circle.ivs.world().session(&stage(number % 2), &session(number)).clone();
            let first = number % 2 == 0;
            json!({
                "stage_arn": stage(number % 2),
                // pyarrow gives a map as pairs.
                "stage_name": if first { "Morning" } else { "" },
                "stage_tags": if first { json!([["env", ""], ["team", "blue"]]) } else { json!([]) },
                "session_id": session(number),
                "session_start_time": shown(what.start_time.unwrap()),
                "session_end_time": what.end_time.map(shown),
                "participants_written_time": written("participants/", number),
                "attendance_written_time": written("attendance/", number),
                "failed_time": (number == 2).then(|| shown(failed)),
            })
        })
        .collect();

    let report = sweep(&circle, json!({})).await;
    let counts = [&report["live"], &report["missing"], &report["failing"]];
    assert_eq!(counts, [1, 2, 1]);
    let rows = rows(&circle);
    for expected in &expected {
        assert_eq!(
            row(&rows, expected["session_id"].as_str().unwrap()),
            expected
        );
    }
    assert_eq!(rows.len(), 6);
    let starts: Vec<_> = rows
        .iter()
        .map(|row| row["session_start_time"].as_str())
        .collect();
    assert!(starts.is_sorted(), "{starts:?}");
    assert_eq!(circle.s3.unconditional_puts().len(), 0);
}

#[tokio::test]
async fn what_a_row_told_stays_when_ivs_forgets_the_session() {
    let circle = circle(&[]).await;
    let labels = Labels::new("Morning", &[("team", "blue")]);
    circle.ivs.world().labels.insert(stage(0), labels);
    put_with_files(&circle, &stage(0), &session(0), days_ago(2));
    sweep(&circle, json!({})).await;
    let before = rows(&circle);

    circle.ivs.world().delete_stage(&stage(0), true);
    // Another one of the same day, so that its file is put anew.
    put_with_files(&circle, &stage(1), &session(1), days_ago(2));
    sweep(&circle, json!({})).await;
    let after = rows(&circle);
    assert_eq!((before.len(), after.len()), (1, 2));
    assert_eq!(row(&after, &session(0)), &before[0]);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let circle = circle(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), live());
    put_with_files(&circle, &stage(0), &session(1), days_ago(20));
    let before = circle.s3.keys();
    for options in [
        json!({ "dry_run": true }),
        json!({ "dry_run": true, "stage_arn": stage(0) }),
    ] {
        let report = sweep(&circle, options).await;
        assert_eq!(report["sessions"], 2);
    }
    assert_eq!(circle.s3.keys(), before);
    let requests = requests_since(&circle, 0);
    assert_eq!((count(&requests, "PUT"), count(&requests, "GET")), (0, 0));
}

#[tokio::test]
async fn a_sweep_of_one_stage_keeps_the_name_and_the_tags_that_are_stored() {
    let circle = circle(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), live());
    let labels = |circle: &Circle| {
        let rows = rows(circle);
        let row = row(&rows, &session(0));
        json!([
            row["stage_name"],
            row["stage_tags"],
            row["session_end_time"]
        ])
    };
    let of_the_stage = json!({ "stage_arn": stage(0) });
    sweep(&circle, of_the_stage.clone()).await;
    assert_eq!(
        labels(&circle),
        json!([null, null, null]),
        "ListStages was never asked"
    );

    let first = Labels::new("Morning", &[("team", "blue")]);
    circle.ivs.world().labels.insert(stage(0), first);
    sweep(&circle, json!({})).await;
    assert_eq!(
        labels(&circle),
        json!(["Morning", [["team", "blue"]], null])
    );

    let second = Labels::new("Evening", &[]);
    circle.ivs.world().labels.insert(stage(0), second);
    let end = now().trunc_subsecs(3);
    circle.ivs.world().session(&stage(0), &session(0)).end_time = Some(end);
    sweep(&circle, of_the_stage).await;
    assert_eq!(
        labels(&circle),
        json!(["Morning", [["team", "blue"]], shown(end)])
    );
    sweep(&circle, json!({})).await;
    assert_eq!(labels(&circle), json!(["Evening", [], shown(end)]));
}

/// Two sweeps at the same moment see different sessions of one day. Whoever puts last, both are in the file.
#[tokio::test]
async fn a_sweep_that_loses_a_race_adds_what_it_saw() {
    let circle = circle(&[]).await;
    let start = now();
    let live = || Session {
        start_time: Some(start),
        ..live()
    };
    circle.ivs.world().put(&stage(0), &session(0), live());
    // Whoever comes second has listed S3 by then.
    let slow = S3Kind::Slow(Duration::from_secs(3));
    circle.s3.fault("PUT", When::Always, slow);
    let first = sweep(&circle, json!({}));
    let second = async {
        circle.ivs.until_called("ListStageSessions", 1).await;
        circle.ivs.world().put(&stage(1), &session(1), live());
        sweep(&circle, json!({})).await
    };
    let reports = tokio::join!(first, second);
    assert_eq!(
        (&reports.0["sessions"], &reports.1["sessions"]),
        (&json!(1), &json!(2))
    );
    let statuses: BTreeSet<_> = circle
        .s3
        .requests()
        .iter()
        .filter(|request| request.method == "PUT")
        .map(|request| request.status)
        .collect();
    assert_eq!(statuses, [200, 412].into());
    assert_eq!(circle.s3.unconditional_puts().len(), 0);
    let ids: Vec<_> = rows(&circle)
        .iter()
        .map(|row| row["session_id"].clone())
        .collect();
    assert_eq!(ids, [session(0), session(1)]);
}

#[tokio::test]
async fn sessions_that_sweeps_leave_out_get_no_row_and_lose_none() {
    let ignore = timestamp(now() - TimeDelta::days(20));
    for (variable, value) in [("IGNORE_ENDED_BEFORE", &*ignore), ("RETENTION_DAYS", "20")] {
        let circle = circle(&[]).await;
        put_with_files(&circle, &stage(0), &session(0), days_ago(30));
        sweep(&circle, json!({})).await;
        let before = rows(&circle);
        assert_eq!(before.len(), 1);

        circle.pool.deploy(variable, value);
        put_with_files(&circle, &stage(0), &session(1), days_ago(30));
        put_with_files(&circle, &stage(0), &session(2), days_ago(10));
        let report = sweep(&circle, json!({})).await;
        assert_eq!(report["sessions"], 3, "all are listed");
        let after = rows(&circle);
        assert_eq!(after.len(), 2, "{variable}");
        assert_eq!(row(&after, &session(0)), &before[0]);
        assert_eq!(row(&after, &session(2))["failed_time"], json!(null));
    }
}

#[tokio::test]
async fn news_of_an_old_day_is_written_down_at_the_next_tick() {
    let circle = circle(&[]).await;
    for day in 8..40 {
        let number = usize::try_from(day).unwrap();
        put_with_files(&circle, &stage(number), &session(number), days_ago(day));
    }
    sweep(&circle, json!({})).await;
    // The days were put long ago: what happened shortly before a PUT counts as news, too.
    for key in keys(&circle) {
        let before = now() - TimeDelta::hours(1);
        circle.s3.set_last_modified(&key, before.into());
    }
    let collected = now().trunc_subsecs(3);
    let what = days_ago(30);
    let attendance = format!(
        "attendance/dt={}/{}.parquet",
        day_of(&what),
        stem(&stage(30), &session(30))
    );
    circle.s3.set_last_modified(&attendance, collected.into());
    let before = circle.s3.requests().len();
    sweep(&circle, json!({})).await;
    let requests = requests_since(&circle, before);
    let put = requests.iter().filter(|it| it.0 == "PUT");
    let put: Vec<_> = put.map(|it| it.1.as_str()).collect();
    assert_eq!(put, [key(day_of(&what))]);
    let rows = rows(&circle);
    let written = &row(&rows, &session(30))["attendance_written_time"];
    assert_eq!(written, &shown(collected));
}

#[tokio::test]
async fn days_that_a_sweep_has_no_time_for_are_put_by_the_next_ones() {
    let settings = CircleSettings::at(100).with(&QUICK);
    let circle = Circle::without_quota(BOOTSTRAP, FOLDER, settings);
    let circle = circle.await.unwrap();
    for number in 0..8 {
        let days = i64::try_from(number).unwrap() + 10;
        put_with_files(&circle, &stage(number), &session(number), days_ago(days));
    }
    // All of them take longer than the time-out of 9 s.
    let slow = S3Kind::Slow(Duration::from_secs(2));
    circle.s3.fault("PUT", When::Always, slow);
    let mut sweeps = 0;
    while keys(&circle).len() < 8 {
        let before = keys(&circle).len();
        let report = sweep(&circle, json!({})).await;
        assert_eq!(report["failed"], 0);
        assert!(keys(&circle).len() > before, "each puts some");
        sweeps += 1;
    }
    assert!(sweeps > 1);
}

/// What a quiet tick costs at S3: a list for each folder, and the days of the last week.
#[tokio::test]
async fn a_tick_without_news_puts_nothing_and_reads_hardly_more_than_a_week() {
    let circle = circle(&[("COLLECT", "everyone")]).await;
    for number in 0..1000 {
        let days = i64::try_from(number % 30).unwrap() + 1;
        put_with_files(&circle, &stage(number), &session(number), days_ago(days));
    }
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(circle.swept()[0]["stages"], 1000);
    assert_eq!(keys(&circle).len(), 30);

    let before = circle.s3.requests().len();
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(circle.swept().len(), 2);
    let requests = requests_since(&circle, before);
    let [put, get, list] = ["PUT", "GET", "LIST"].map(|operation| count(&requests, operation));
    println!("a quiet tick, 1,000 stages, 30 days: {put} PUT, {get} GET, {list} LIST");
    assert_eq!(put, 0, "{requests:?}");
    let week = days_ago(7);
    let old = requests.iter().filter(|(operation, path)| {
        let late = key(day_of(&week));
        operation == "GET" && *path < late
    });
    assert!(old.count() <= 1, "{requests:?}");
    let folders = ["participants", "attendance", "failed", "parts", "sessions"];
    assert_eq!(list, folders.len(), "{requests:?}");
}
