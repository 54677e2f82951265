//! The sample sessions of `make athena` and `make query`. They contain everything that makes queries difficult. The real
//! function exports and collects them into an S3 server that the caller provides, or into a folder.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::folder::at;
use crate::ivs::Ivs;
use crate::ivs::quota::Quota;
use crate::ivs::world::{Labels, Participant, Session, timestamp};
use crate::lambda::function::Function;
use crate::s3::S3;
use crate::scene::{
    audience, audience_until, give_lives, lives, now, random_life, request, seminar,
};
use crate::sqs::Sqs;
use crate::sqs::queues::QueueSettings;
use crate::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, TIMEOUT};

/// The steps that the function can be asked for.
const STEPS: &str = "export (each session by a request), rewrite (each session anew), collect (each session), recollect (each anew), sweep";

/// A session of the sample with the ARN of its stage and its id.
type Sample = (String, String, Session);

/// Starts IVS with the sample as of `today`, and the function with the S3 at `s3_url`. If that is the word `folder`, the lake is
/// the folder `s3` in `folder`. Runs `steps`, and prints the answers as JSON lines. Writes what IVS knows to `known.json` in
/// `folder`, in the form of its API.
///
/// # Errors
/// When a server fails, the function answers with an error, `today` is no instant, or a step is not known.
pub async fn fill(
    bootstrap: &Path,
    folder: &Path,
    s3_url: &str,
    today: &str,
    steps: &[&str],
) -> Result<(), Box<dyn Error>> {
    let ivs = Ivs::start(REGION).await?;
    let sqs = Sqs::start().await?;
    let s3 = match s3_url {
        "folder" => Some(S3::start(&folder.join("s3"), BUCKET).await?),
        _ => None,
    };
    let s3_url = s3.as_ref().map_or(s3_url, S3::url);
    let work = sqs.create("work", QueueSettings::default());
    let fifo = QueueSettings {
        fifo: true,
        ..QueueSettings::default()
    };
    let collect = sqs.create("collect.fifo", fifo);
    let sample = sessions(DateTime::parse_from_rfc3339(today)?.to_utc());
    {
        let mut world = ivs.world();
        world.quota = Quota::Off;
        for (stage_arn, session_id, session) in &sample {
            world.put(stage_arn, session_id, session.clone());
        }
        world.labels = labels();
    }
    let file = folder.join("known.json");
    std::fs::write(&file, serde_json::to_vec(&known(&sample))?).map_err(at(&file))?;
    let variables = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_ENDPOINT_URL_IVS_REALTIME", ivs.url()),
        ("AWS_ENDPOINT_URL_S3", s3_url),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
        ("BUCKET", BUCKET),
        ("CALLS_PER_SECOND", "50"),
        ("COLLECT_CALLS_PER_SECOND", "1000"),
        ("COLLECT_QUEUE_URL", &collect),
        ("QUEUE_URL", &work),
        ("SWEEP_CALLS_PER_SECOND", "50"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let log = folder.join("function.log");
    let mut function = Function::start(bootstrap, &variables.into(), log).await?;
    for &step in steps {
        let each = sample.iter().map(|(stage_arn, session_id, _)| {
            let mut payload = request(stage_arn, session_id);
            if step == "rewrite" || step == "recollect" {
                let now = now().to_rfc3339_opts(SecondsFormat::Micros, true);
                payload["rewrite_before"] = json!(now);
            }
            payload
        });
        let payloads = match step {
            "export" | "rewrite" => each.collect(),
            "collect" | "recollect" => each.map(|it| json!({ "collect": it })).collect(),
            "sweep" => vec![json!({ "sweep": {} })],
            _ => return Err(format!("{step:?} is none of the steps: {STEPS}").into()),
        };
        for payload in payloads {
            // An invocation may leave parts of a large session to the next one.
            loop {
                match function.invoke(payload.clone(), TIMEOUT).await {
                    Ok(answer) if answer["outcome"] == "continued" => {}
                    Ok(answer) => {
                        println!("{answer}");
                        break;
                    }
                    Err(failure) => return Err(format!("{payload}: {failure:?}").into()),
                }
            }
        }
    }
    Ok(())
}

fn stage_arn(stage: &str) -> String {
    format!("arn:aws:ivs:{REGION}:123456789012:stage/{stage}")
}

/// Names and tags of stages. For one of them IVS sends neither.
fn labels() -> BTreeMap<String, Labels> {
    let tags = [
        ("", "no key"),
        ("Team", "A"),
        ("team", ""),
        ("a.b[0]", "{\"c\": 1}"),
    ];
    let nothing = Labels {
        name: None,
        tags: None,
    };
    BTreeMap::from([
        (
            stage_arn("Lives0000000"),
            Labels::new("everything", &[("team", "video")]),
        ),
        (
            stage_arn("Seminar00000"),
            Labels::new("seminar", &[("course", "video-101"), ("team", "school")]),
        ),
        (
            stage_arn("Live00000000"),
            Labels::new("\u{65e5}\u{672c}\u{8a9e} \"live\"", &tags),
        ),
        (stage_arn("Lectures0000"), nothing),
    ])
}

/// The sessions as JSON, in the form of the API. Each participant also has the answers of the operations about one
/// participant, and each session the name and the tags of its stage.
fn known(sample: &[Sample]) -> Value {
    let labels = labels();
    let participant = |participant: &Participant| {
        let mut known = json!(participant);
        known["events"] = json!(participant.events);
        known["details"] = json!(participant.details);
        known
    };
    let one = |(arn, session_id, session): &Sample| {
        let Labels { name, tags } = labels.get(arn).cloned().unwrap_or_default();
        let people: Vec<_> = session.participants.iter().map(participant).collect();
        json!({
            "stageArn": arn,
            "stageName": name,
            "stageTags": tags,
            "sessionId": session_id,
            "startTime": session.start_time.map(timestamp),
            "endTime": session.end_time.map(timestamp),
            "participants": people,
        })
    };
    sample.iter().map(one).collect()
}

/// The sample. Most sessions are on fixed days, so that queries can name them; some are on the days before `today`.
fn sessions(today: DateTime<Utc>) -> Vec<Sample> {
    let at = |text: &str| {
        let time = DateTime::parse_from_rfc3339(text).expect("an instant by RFC 3339");
        time.to_utc()
    };
    let mut sample = Vec::new();
    let mut put =
        |stage: &str, session_id: &str, start: DateTime<Utc>, seconds, mut people: Vec<_>| {
            let end_time = Some(start + TimeDelta::seconds(seconds));
            give_lives(&mut people, end_time);
            let session = Session {
                start_time: Some(start),
                end_time,
                participants: people,
            };
            sample.push((stage_arn(stage), session_id.to_owned(), session));
        };

    let lecture = at("2026-11-02T09:00:00Z");
    let many = audience(5_000, lecture);
    put("Lectures0000", "st-Lecture000001", lecture, 5700, many);
    let start = at("2026-11-02T13:00:00Z");
    put("Lectures0000", "st-Nobody0000001", start, 180, Vec::new());
    // The last millisecond of a day, and the first of the next. The two have one id, on two stages.
    let start = at("2026-11-03T23:59:59.999Z");
    put(
        "Midnight0000",
        "st-Midnight00001",
        start,
        1800,
        audience(4, start),
    );
    let start = at("2026-11-04T00:00:00Z");
    put(
        "Morning00000",
        "st-Midnight00001",
        start,
        1800,
        audience(6, start),
    );
    let start = at("2026-11-04T10:00:00Z");
    // Nearly 21 minutes.
    put(
        "Texts0000000",
        "st-Texts00000001",
        start,
        1250,
        odd_users(start),
    );
    put(
        "Future000000",
        "st-Future0000001",
        start,
        1500,
        tomorrows(start),
    );
    let start = at("2026-11-05T15:30:00.250Z");
    put(
        "Recording000",
        "st-Recording0001",
        start,
        3660,
        recordings(start),
    );
    put(
        "Stage0Source",
        "st-Source0000001",
        start,
        5400,
        source(start),
    );
    put(
        "Stage0Target",
        "st-Target0000001",
        start,
        2700,
        replicas(start),
    );
    let start = at("2026-11-06T18:00:00Z");
    put(
        "Reconnects00",
        "st-Reconnect0001",
        start,
        3000,
        reconnects(start),
    );
    put(
        "Unfinished00",
        "st-Unfinished001",
        start,
        600,
        unfinished(start),
    );
    // One id on two stages, on one day and from one moment on; a second session on one of the stages; and another that
    // began with them, on the last stage but with the first id.
    let start = at("2026-11-07T08:00:00Z");
    for (stage, session_id, seconds, user_id) in [
        ("Twins0000One", "st-Twins00000001", 0, "twin"),
        ("Twins0000Two", "st-Twins00000001", 0, "twin"),
        ("Twins0000One", "st-Twins00000002", 7200, "third"),
        ("Twins0003rd0", "st-Ahead00000001", 0, "fourth"),
    ] {
        let start = start + TimeDelta::seconds(seconds);
        let people = vec![
            person(2, Some(user_id), start, 5),
            person(1, None, start, 9),
        ];
        put(stage, session_id, start, 900, people);
    }
    let start = at("2026-11-10T23:00:00Z");
    put(
        "Stage0Target",
        "st-Target0000002",
        start,
        9000,
        far_replicas(start),
    );
    let start = at("2026-11-11T00:30:00Z");
    put(
        "Stage0Source",
        "st-Source0000002",
        start,
        3000,
        source(start),
    );
    // Of the last days.
    for (session_id, before, seconds, people) in [
        ("st-FiveWeeks0001", TimeDelta::days(34), 2520, 3),
        ("st-FourWeeks0001", TimeDelta::days(27), 2520, 5),
        ("st-NineDays00001", TimeDelta::days(9), 2520, 7),
        ("st-LastWeek00001", TimeDelta::days(8), 2520, 9),
        (
            "st-LongOne000001",
            TimeDelta::days(5),
            5 * 86_400 - 3_700,
            2,
        ),
        ("st-TwoDays000001", TimeDelta::days(2), 2520, 5),
        ("st-HalfADay00001", TimeDelta::hours(31), 3600, 1),
        ("st-Yesterday0001", TimeDelta::days(1), 2520, 12),
        // The last to end is not the last to begin. Both are due for their second look.
        ("st-Lately0000001", TimeDelta::minutes(47), 2520, 7),
        ("st-Shortly000001", TimeDelta::minutes(20), 300, 1),
    ] {
        let start = today - before;
        let mut people = audience(people, start);
        if session_id == "st-Lately0000001" {
            // Somebody has a second device.
            people.push(person(50, Some("viewer-1"), start, 20));
        }
        put("Daily0000000", session_id, start, seconds, people);
    }
    // One that is live, one whose events are as difficult as IVS allows, which does not begin in a whole second as events do,
    // and one as people know them.
    let start = at("2026-11-12T10:00:00Z");
    let live = Session {
        start_time: Some(start),
        end_time: None,
        participants: audience_until(3, start, None),
    };
    let start = at("2026-11-13T12:00:00.250Z");
    let end = start + TimeDelta::seconds(700);
    let difficult = Session {
        start_time: Some(start),
        end_time: Some(end),
        participants: lives(start, end),
    };
    let start = at("2026-11-16T09:00:00Z");
    let seminar = Session {
        start_time: Some(start),
        end_time: Some(start + TimeDelta::minutes(48)),
        participants: seminar(start),
    };
    for (stage, session_id, session) in [
        ("Live00000000", "st-Live000000001", live),
        ("Lives0000000", "st-Lives00000001", difficult),
        ("Seminar00000", "st-Seminar000001", seminar),
    ] {
        sample.push((stage_arn(stage), session_id.to_owned(), session));
    }
    // Sessions of drawn events, on a day far from the others: some of few, and some of many. Each id is that of a session on
    // either of two stages.
    let start = at("2026-09-15T12:00:00.250Z");
    let mut random = fastrand::Rng::with_seed(14);
    for number in 0..40 {
        let seconds = random.i64(5..30);
        let people = (0..if number < 24 { 4 } else { 44 })
            .map(|person| {
                // Two participants are one user.
                let user_id = format!("drawn-{}", person / 2);
                random_life(
                    &format!("random-{person}"),
                    &user_id,
                    start,
                    seconds,
                    &mut random,
                )
            })
            .collect();
        let session = Session {
            start_time: Some(start),
            end_time: Some(start + TimeDelta::seconds(seconds)),
            participants: people,
        };
        let stage = stage_arn(&format!("Random00000{}", number % 2));
        let session_id = format!("st-Random{:07}", number / 2);
        sample.push((stage, session_id, session));
    }
    sample
}

/// A participant who joined so many seconds after the start.
fn person(number: u32, user_id: Option<&str>, start: DateTime<Utc>, seconds: i64) -> Participant {
    Participant {
        participant_id: Some(format!("p{number:011}")),
        user_id: user_id.map(str::to_owned),
        state: Some("DISCONNECTED".to_owned()),
        first_join_time: Some(timestamp(start + TimeDelta::seconds(seconds))),
        published: Some(false),
        recording_state: Some("DISABLED".to_owned()),
        replication_type: Some("NONE".to_owned()),
        ..Participant::default()
    }
}

/// User ids that break code which quotes, cuts, trims, or confuses empty with absent.
fn odd_users(start: DateTime<Utc>) -> Vec<Participant> {
    let long = "long ".repeat(200);
    let ids = [
        None,
        Some(""),
        Some(" "),
        Some("NULL"),
        Some("O'Brien \"the\" \\ 'Chief'"),
        Some("two\nlines\r\nand a\ttab"),
        Some("👩🏽‍🚀 école ﷺ 日本語"),
        Some("e\u{301} and \u{e9}"),
        Some("a\u{0}b"),
        Some("e\u{301}"),
        Some("\u{e9}"),
        Some("'; DROP TABLE participants; --"),
        Some("100%_sure"),
        Some("100x-sure"),
        // Beside `ana` of other sessions.
        Some("Ana"),
        Some(" ana"),
        Some("ana$1"),
        Some(long.as_str()),
    ];
    (0..)
        .zip(ids)
        .map(|(number, id)| person(number, id, start, 2 * i64::from(number)))
        .collect()
}

/// Values that the API may add one day, and members that it may leave out.
fn tomorrows(start: DateTime<Utc>) -> Vec<Participant> {
    vec![
        Participant {
            state: Some("LINGERING".to_owned()),
            recording_state: Some("PAUSED".to_owned()),
            replication_type: Some("MIRROR".to_owned()),
            replication_state: Some("RESTING".to_owned()),
            ..person(1, Some("ana"), start, 1)
        },
        // Only the one member that every participant has.
        Participant {
            participant_id: Some("p00000000002".to_owned()),
            ..Participant::default()
        },
        // Absent booleans read false; a join finer than a millisecond is cut.
        Participant {
            published: None,
            redundant_ingest: None,
            first_join_time: Some("2026-11-04T10:00:03.987654321Z".to_owned()),
            ..person(3, Some("ben"), start, 3)
        },
        Participant {
            published: Some(true),
            redundant_ingest: Some(true),
            ingest_configuration_arn: Some(format!(
                "arn:aws:ivs:{REGION}:123456789012:ingest-configuration/Abcdef123456"
            )),
            ..person(4, Some("cleo"), start, 4)
        },
    ]
}

/// A publisher for each state of a recording, of whom the last has none, and one viewer.
fn recordings(start: DateTime<Utc>) -> Vec<Participant> {
    let states = [
        Some("STOPPED"),
        Some("STOPPED"),
        Some("FAILED"),
        Some("STARTING"),
        Some("ACTIVE"),
        Some("STOPPING"),
        Some("DISABLED"),
        None,
    ];
    let mut people: Vec<_> = (0..)
        .zip(states)
        .map(|(number, state)| Participant {
            published: Some(true),
            recording_state: state.map(str::to_owned),
            ..person(number, Some(&format!("speaker-{number}")), start, 5)
        })
        .collect();
    // A publisher who came twice, one without a user id, and viewers.
    let publishes = |mut person: Participant| {
        person.published = Some(true);
        person
    };
    people.push(publishes(person(80, Some("speaker-0"), start, 300)));
    people.push(publishes(person(81, Some(""), start, 310)));
    people.push(person(90, Some("ana"), start, 600));
    people
}

/// The host, who is also shown on another stage, and a guest.
fn source(start: DateTime<Utc>) -> Vec<Participant> {
    vec![
        Participant {
            published: Some(true),
            replication_type: Some("SOURCE".to_owned()),
            replication_state: Some("STOPPED".to_owned()),
            ..person(1, Some("host"), start, 0)
        },
        person(2, Some("guest"), start, 30),
    ]
}

/// Two replicas, one of a session that the lake does not have, among their audience.
fn replicas(start: DateTime<Utc>) -> Vec<Participant> {
    let replica = |number, user_id, session_id: &str, state: &str| Participant {
        published: Some(true),
        replication_type: Some("REPLICA".to_owned()),
        replication_state: Some(state.to_owned()),
        source_stage_arn: Some(format!(
            "arn:aws:ivs:{REGION}:123456789012:stage/Stage0Source"
        )),
        source_session_id: Some(session_id.to_owned()),
        ..person(number, Some(user_id), start, 60)
    };
    vec![
        replica(1, "host", "st-Source0000001", "STOPPED"),
        replica(2, "visitor", "st-Elsewhere0001", "ACTIVE"),
        person(3, Some("guest"), start, 61),
        person(4, None, start, 62),
    ]
}

/// Replicas of sessions that started three days before and an hour and a half later; of an id that is there on other
/// stages only; and of one that started eight days before, which nobody looks for.
fn far_replicas(start: DateTime<Utc>) -> Vec<Participant> {
    [
        ("Twins0000One", "st-Twins00000001"),
        ("Stage0Source", "st-Source0000002"),
        ("Elsewhere000", "st-Twins00000001"),
        ("Lectures0000", "st-Lecture000001"),
    ]
    .iter()
    .zip(0..)
    .map(|(&(stage, session_id), number)| Participant {
        replication_type: Some("REPLICA".to_owned()),
        source_stage_arn: Some(format!("arn:aws:ivs:{REGION}:123456789012:stage/{stage}")),
        source_session_id: Some(session_id.to_owned()),
        ..person(number, Some("host"), start, 7200)
    })
    .collect()
}

/// One who came three times with new tokens, one who came twice in the same second, and people without a user id, who
/// cannot be told apart.
fn reconnects(start: DateTime<Utc>) -> Vec<Participant> {
    let mut people: Vec<_> = [
        // The ids are not in the order of joining.
        (9, Some("ana"), 0),
        (3, Some("ana"), 300),
        (5, Some("ana"), 1200),
        (11, Some("ben"), 10),
        (10, Some("ben"), 10),
        (12, Some("aaron"), 11),
        (13, Some("aaron"), 12),
        (20, Some("cleo"), 20),
        (30, Some(""), 30),
        (31, Some(""), 40),
        (40, None, 50),
        (41, None, 60),
    ]
    .iter()
    .map(|&(number, user_id, seconds)| person(number, user_id, start, seconds))
    .collect();
    // Her fourth join has no time.
    let timeless = Participant {
        first_join_time: None,
        ..person(1, Some("ana"), start, 0)
    };
    // No join with this user id has a time.
    let both = [50, 51].map(|number| Participant {
        first_join_time: None,
        ..person(number, Some("zoe"), start, 0)
    });
    people.push(timeless);
    people.extend(both);
    people
}

/// Participants who are still connected or recording, although the session has ended.
fn unfinished(start: DateTime<Utc>) -> Vec<Participant> {
    let mut people = vec![
        person(1, Some("dora"), start, 1),
        person(2, Some("emil"), start, 2),
        person(3, Some("fay"), start, 3),
        person(4, Some("gus"), start, 4),
    ];
    people[0].state = Some("CONNECTED".to_owned());
    people[1].recording_state = Some("ACTIVE".to_owned());
    people[2].state = Some("CONNECTED".to_owned());
    people[2].recording_state = Some("STOPPING".to_owned());
    people.push(Participant {
        state: None,
        recording_state: Some("ACTIVE".to_owned()),
        ..person(5, Some("hal"), start, 5)
    });
    people.push(Participant {
        state: Some("CONNECTED".to_owned()),
        recording_state: None,
        ..person(6, Some("ida"), start, 6)
    });
    people
}
