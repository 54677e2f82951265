//! What holds for every table, tried on `participants`.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use sha2::{Digest, Sha256};

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::attendance::{ATTENDANCE, Attendee, Details};
use super::participant_events::{Event, PARTICIPANT_EVENTS, Person, Rare, Token};
use super::participants::{PARTICIPANTS, Participant};
use super::sessions::{SESSIONS, Session};
use super::*;
use crate::session::SessionRef;

fn session() -> EndedSession {
    EndedSession {
        name: SessionRef {
            stage_arn: "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij"
                .parse()
                .unwrap(),
            session_id: "st-1CVugbu2cf2n8".parse().unwrap(),
        },
        start_time: millis(1_763_480_000_123),
        end_time: millis(1_763_483_600_456),
    }
}

fn millis(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap()
}

/// Rows that often agree in a member: few ids, states of today and of tomorrow, awkward strings.
fn row() -> impl Strategy<Value = Participant> {
    let text = || {
        option::of(prop_oneof![
            select(vec!["", "a", "é\u{0}", "\"\n'", "🦀"]).prop_map(str::to_owned),
            ".{0,4}"
        ])
    };
    let state = |states: &'static [&'static str]| {
        option::of(prop_oneof![
            select(states).prop_map(State::from),
            select(vec!["", "PAUSED", "AWAY"]).prop_map(State::from)
        ])
    };
    let time =
        option::of(prop_oneof![-2i64..3, 1_763_480_000_000i64..1_763_480_000_003].prop_map(millis));
    let flag = || option::of(any::<bool>());
    (
        (
            option::weighted(
                0.9,
                select(vec!["p1", "p2", "p3", ""]).prop_map(str::to_owned),
            ),
            text(),
            state(&["CONNECTED", "DISCONNECTED"]),
            time,
        ),
        (
            flag(),
            state(&[
                "DISABLED", "STARTING", "ACTIVE", "STOPPING", "STOPPED", "FAILED",
            ]),
            state(&["NONE", "SOURCE", "REPLICA"]),
        ),
        (
            state(&["ACTIVE", "STOPPED"]),
            text(),
            text(),
            flag(),
            text(),
        ),
    )
        .prop_map(|(a, b, c)| Participant {
            participant_id: a.0,
            user_id: a.1,
            state: a.2,
            first_join_time: a.3,
            published: b.0,
            recording_state: b.1,
            replication_type: b.2,
            replication_state: c.0,
            source_stage_arn: c.1,
            source_session_id: c.2,
            redundant_ingest: c.3,
            ingest_configuration_arn: c.4,
        })
}

fn merge(sides: &[&[Participant]]) -> Vec<Participant> {
    (PARTICIPANTS.merge)(sides.concat())
}

fn ids(rows: &[Participant]) -> HashSet<Option<&str>> {
    rows.iter()
        .map(|row| row.participant_id.as_deref())
        .collect()
}

proptest! {
    #[test]
    fn rows_survive_the_file(rows in vec(row(), 0..20)) {
        let file = PARTICIPANTS.encode(&session(), &rows).unwrap();
        let stored = PARTICIPANTS.decode(file.into(), usize::MAX).unwrap();
        prop_assert_eq!(&stored.rows, &rows);
        prop_assert_eq!(stored.session_end_time, (!rows.is_empty()).then(|| session().end_time));
    }

    #[test]
    fn order_paging_and_repetition_change_no_byte(
        rows in vec(row(), 1..12),
        shuffled in vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let once = PARTICIPANTS.encode(&session(), &merge(&[&rows])).unwrap();
        let repeated: Vec<_> = shuffled.iter().map(|index| index.get(&rows).clone()).collect();
        let mut reversed = rows.clone();
        reversed.reverse();
        let again = PARTICIPANTS.encode(&session(), &merge(&[&repeated, &reversed])).unwrap();
        prop_assert!(once == again);
    }

    #[test]
    fn merging_is_what_one_would_write_without_thought_of_speed(rows in vec(row(), 0..40)) {
        let mut expected: Vec<Participant> = Vec::new();
        for row in &rows {
            let same = |other: &&mut Participant| match &row.participant_id {
                Some(_) => other.participant_id == row.participant_id,
                None => **other == *row,
            };
            match expected.iter_mut().find(same) {
                Some(kept) if PARTICIPANTS.progress(row, kept).is_gt() => *kept = row.clone(),
                Some(_) => {}
                None => expected.push(row.clone()),
            }
        }
        expected.sort_by(|a, b| {
            let place = |row: &Participant| {
                (row.first_join_time.is_none(), row.first_join_time, row.participant_id.clone())
            };
            place(a).cmp(&place(b)).then_with(|| PARTICIPANTS.progress(a, b))
        });
        prop_assert_eq!(merge(&[&rows]), expected);
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in vec(row(), 0..8), b in vec(row(), 0..8), c in vec(row(), 0..8),
    ) {
        prop_assert_eq!(merge(&[&a, &b]), merge(&[&b, &a]));
        prop_assert_eq!(merge(&[&merge(&[&a, &b]), &c]), merge(&[&a, &merge(&[&b, &c])]));
        prop_assert_eq!(merge(&[&merge(&[&a]), &a]), merge(&[&a]));
    }

    #[test]
    fn merging_drops_nobody_and_doubles_nobody(a in vec(row(), 0..8), b in vec(row(), 0..8)) {
        let merged = merge(&[&a, &b]);
        let all = [a.clone(), b.clone()].concat();
        prop_assert_eq!(ids(&merged), ids(&all));
        let named = merged.iter().filter(|row| row.participant_id.is_some()).count();
        prop_assert_eq!(named, ids(&merged).iter().flatten().count());
        for nameless in a.iter().chain(&b).filter(|row| row.participant_id.is_none()) {
            prop_assert_eq!(merged.iter().filter(|row| row == &nameless).count(), 1);
        }
    }
}

#[test]
fn the_row_that_is_further_along_stays() {
    let row = |change: fn(&mut Participant)| {
        let mut row = Participant {
            participant_id: Some("p".to_owned()),
            ..Participant::default()
        };
        change(&mut row);
        row
    };
    for (behind, ahead) in [
        (row(|_| ()), row(|row| row.user_id = Some(String::new()))),
        (
            row(|row| row.user_id = Some("a".into())),
            row(|row| row.user_id = Some("b".into())),
        ),
        (
            row(|row| row.state = Some("CONNECTED".into())),
            row(|row| row.state = Some("DISCONNECTED".into())),
        ),
        (
            row(|row| row.state = Some("DISCONNECTED".into())),
            row(|row| row.state = Some("AWAY".into())),
        ),
        (
            row(|row| row.state = Some("AWAY".into())),
            row(|row| row.state = Some("BANNED".into())),
        ),
        (
            row(|row| row.recording_state = Some("STOPPED".into())),
            row(|row| row.recording_state = Some("FAILED".into())),
        ),
        (
            row(|row| row.recording_state = Some("DISABLED".into())),
            row(|row| row.recording_state = Some("ACTIVE".into())),
        ),
        (
            row(|row| row.replication_type = Some("SOURCE".into())),
            row(|row| row.replication_type = Some("REPLICA".into())),
        ),
        (
            row(|row| row.published = Some(false)),
            row(|row| row.published = Some(true)),
        ),
        (
            row(|row| row.first_join_time = Some(millis(1))),
            row(|row| row.first_join_time = Some(millis(2))),
        ),
        // An earlier column decides before a later one.
        (
            row(|row| (row.state, row.published) = (Some("CONNECTED".into()), Some(true))),
            row(|row| (row.state, row.published) = (Some("DISCONNECTED".into()), Some(false))),
        ),
    ] {
        let (behind, ahead) = ([behind], [ahead]);
        assert_eq!(merge(&[&behind, &ahead]), ahead, "{behind:?}");
        assert_eq!(merge(&[&ahead, &behind]), ahead, "{behind:?}");
    }
}

#[test]
fn rows_lie_by_join_time_then_id_and_those_without_a_time_last() {
    let row = |id: &str, time: Option<i64>| Participant {
        participant_id: Some(id.to_owned()),
        first_join_time: time.map(millis),
        ..Participant::default()
    };
    let merged = merge(&[&[
        row("a", None),
        row("c", Some(5)),
        row("b", Some(5)),
        row("d", Some(4)),
        row("f", Some(-2)),
        row("e", Some(-1)),
    ]]);
    let order: Vec<_> = merged
        .iter()
        .filter_map(|row| row.participant_id.as_deref())
        .collect();
    assert_eq!(order, ["f", "e", "d", "b", "c", "a"]);
}

#[test]
fn a_rewrite_keeps_the_stored_rows_that_are_not_listed_any_more() {
    let row = |id: Option<&str>| Participant {
        participant_id: id.map(str::to_owned),
        ..Participant::default()
    };
    let stored = vec![row(Some("gone")), row(Some("listed")), row(None)];
    assert_eq!(
        PARTICIPANTS.only_stored(stored, &[row(Some("listed"))]),
        [row(Some("gone")), row(None)]
    );
}

#[test]
fn a_file_of_an_older_schema_reads_with_nulls() {
    let full = Participant {
        participant_id: Some("p".to_owned()),
        redundant_ingest: Some(true),
        ingest_configuration_arn: Some("arn".to_owned()),
        ..Participant::default()
    };
    let older = Table {
        schema_version: 1,
        rows_of: "participants",
        name: PARTICIPANTS.name,
        columns: &PARTICIPANTS.columns[..PARTICIPANTS.columns.len() - 2],
        id: PARTICIPANTS.id,
        merge: PARTICIPANTS.merge,
    };
    let file = older
        .encode(&session(), std::slice::from_ref(&full))
        .unwrap();
    let read = PARTICIPANTS.decode(file.into(), usize::MAX).unwrap().rows;
    assert_eq!(
        read,
        [Participant {
            redundant_ingest: None,
            ingest_configuration_arn: None,
            ..full
        }]
    );
}

#[test]
fn what_is_no_file_of_ours_is_an_error() {
    assert!(
        PARTICIPANTS
            .decode(Bytes::from_static(b"dt,people\n"), usize::MAX)
            .is_err()
    );
    let other = Table::<Participant> {
        schema_version: 1,
        rows_of: "participants",
        name: "other",
        columns: &[Column {
            name: "user_id",
            comment: "",
            kind: Kind::Flag(|row| row.published, |row, value| row.published = value),
        }],
        id: |_| None,
        merge: |rows| rows,
    };
    let file = other.encode(&session(), &[Participant::default()]).unwrap();
    let message = PARTICIPANTS
        .decode(file.into(), usize::MAX)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "the stored column user_id is of another type, Boolean"
    );
}

/// A column of lists has no leaf by its own name, and must not be passed over as one that an older file lacks.
#[test]
fn a_nested_column_is_of_another_type() {
    let mut builder = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new())
        .with_field(Field::new("element", DataType::Utf8, true));
    builder.append_value([Some("ana")]);
    let column: ArrayRef = Arc::new(builder.finish());
    let batch = RecordBatch::try_from_iter([("user_id", column)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.into_inner().unwrap();
    let message = PARTICIPANTS
        .decode(file.into(), usize::MAX)
        .unwrap_err()
        .to_string();
    assert!(message.contains("user_id is of another type"), "{message}");
}

#[test]
fn a_wrong_count_of_rows_is_an_error_and_not_fewer_rows() {
    const ROWS: u16 = 300;
    let row = |number: u16| Participant {
        participant_id: Some(format!("p{number:011}")),
        ..Participant::default()
    };
    let rows: Vec<_> = (0..ROWS).map(row).collect();
    let file = PARTICIPANTS.encode(&session(), &rows).unwrap();
    // 300 as the footer writes it (a zigzag varint), wherever it may stand there, and 299 in its place.
    let (right, wrong) = ([0xd8, 0x04], [0xd6, 0x04]);
    let mut refused = 0;
    for at in 0..file.len() - 1 {
        if file[at..at + 2] != right {
            continue;
        }
        let mut file = file.clone();
        file[at..at + 2].copy_from_slice(&wrong);
        match PARTICIPANTS.decode(file.into(), usize::MAX) {
            Ok(stored) => assert_eq!(stored.rows.len(), usize::from(ROWS), "at {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= 2, "of the row group and of the file");
}

#[test]
fn rows_come_into_their_order_from_any_rotation() {
    const ROWS: i64 = 50;
    let row = |number: i64| Participant {
        participant_id: Some(format!("p{number:011}")),
        first_join_time: DateTime::from_timestamp(number, 0),
        ..Participant::default()
    };
    let rows: Vec<_> = (0..ROWS).map(row).collect();
    for by in 0..rows.len() {
        let mut rotated = rows.clone();
        rotated.rotate_left(by);
        assert_eq!((PARTICIPANTS.merge)(rotated.clone()), rows, "{by}");
        rotated.reverse();
        assert_eq!((PARTICIPANTS.merge)(rotated), rows, "{by}, reversed");
    }
}

#[test]
fn of_two_rows_the_states_decide_before_all_else() {
    let stale = Participant {
        participant_id: Some("p".to_owned()),
        user_id: Some("zed".to_owned()),
        state: Some("CONNECTED".into()),
        recording_state: Some("ACTIVE".into()),
        ..Participant::default()
    };
    let last = Participant {
        user_id: Some("ana".to_owned()),
        state: Some("DISCONNECTED".into()),
        recording_state: Some("STOPPED".into()),
        ..stale.clone()
    };
    for rows in [[&stale, &last], [&last, &stale]] {
        let rows = rows.map(Clone::clone).to_vec();
        assert_eq!((PARTICIPANTS.merge)(rows), std::slice::from_ref(&last));
    }
}

#[test]
fn a_small_file_of_many_rows_is_too_large_before_the_memory_is_taken() {
    const ROWS: usize = 1_000_000;
    let column: ArrayRef = Arc::new(StringArray::new_null(ROWS));
    let batch = RecordBatch::try_from_iter_with_nullable([("user_id", column, true)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let file = Bytes::from(writer.into_inner().unwrap());
    assert!(file.len() < 10_000);
    let least = ROWS * size_of::<Participant>();
    let error = PARTICIPANTS.decode(file.clone(), least - 1).unwrap_err();
    assert_eq!(error.downcast::<TooLarge>().unwrap().rows, ROWS);
    assert_eq!(PARTICIPANTS.decode(file, least).unwrap().rows.len(), ROWS);
}

#[test]
fn strings_that_rows_share_do_not_count_for_each() {
    let event = |second| Event {
        event_time: Some(millis(second)),
        name: Some("SUBSCRIBE_STARTED".into()),
        remote_participant_id: Some("publisher".into()),
        ..Event::default()
    };
    let events: Vec<_> = (0..1_000).map(event).collect();
    let file = Bytes::from(PARTICIPANT_EVENTS.encode(&session(), &events).unwrap());
    let most_bytes = size_of_val(&*events);
    let read = |kept| {
        let mut rows = 0;
        let each = |some: Vec<Event>| rows += some.len();
        let read = PARTICIPANT_EVENTS.decode_each(file.clone(), most_bytes, &kept, each);
        read.map(|_| rows)
    };
    assert_eq!(read(Kept::Shared(Event::weight)).unwrap(), events.len());
    let error = read(Kept::Whole(size_of::<Event>())).unwrap_err();
    assert_eq!(error.downcast::<TooLarge>().unwrap().rows, events.len());
}

#[test]
fn long_strings_count_where_rows_are_few() {
    let row = |number: usize| Participant {
        participant_id: Some(format!("p{number}")),
        // One value in the file, but one of its own in each row.
        user_id: Some("u".repeat(100_000)),
        ..Participant::default()
    };
    let rows: Vec<_> = (0..100).map(row).collect();
    let file = Bytes::from(PARTICIPANTS.encode(&session(), &rows).unwrap());
    let weight = PARTICIPANTS.weight(&rows);
    assert!(weight > 10_000_000);
    assert!(PARTICIPANTS.decode(file.clone(), weight - 1).is_err());
    assert_eq!(PARTICIPANTS.decode(file, weight).unwrap().rows, rows);
}

/// Equal bytes keep a query that reads the file whole while it is written again. If a library changes them, say so in
/// CHANGELOG, and put the new hash here.
#[test]
fn the_bytes_of_a_file_are_the_same_in_every_build() {
    let rows = ["ana", "ben"].map(|user| Participant {
        participant_id: Some(format!("p-{user}")),
        user_id: Some(user.to_owned()),
        state: Some("DISCONNECTED".into()),
        first_join_time: Some(millis(1_763_480_001_000)),
        published: Some(true),
        redundant_ingest: Some(false),
        ..Participant::default()
    });
    let file = PARTICIPANTS.encode(&session(), &rows).unwrap();
    let reader = SerializedFileReader::new(Bytes::from(file.clone())).unwrap();
    let written_by = reader
        .metadata()
        .file_metadata()
        .created_by()
        .map(str::to_owned);
    assert_eq!(written_by.as_deref(), Some("ivs-attendance"));
    let hash = Bytes::from(Sha256::digest(&file).to_vec());
    insta::assert_snapshot!(format!("{hash:x}"), @"f0ede7e1d7b0d853bd00d203efe906285096647f317bbff0aa7f0ddb92e7a24f");
}

#[test]
fn the_schema_is_the_contract() {
    let schema = PARTICIPANTS.schema();
    let lines: Vec<_> = schema
        .fields()
        .iter()
        .zip(PARTICIPANTS.columns)
        .map(|(field, column)| {
            let null = if field.is_nullable() { "" } else { " not null" };
            format!(
                "{:<25}{:<11}{}{null}",
                field.name(),
                column.athena_type(),
                field.data_type()
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    stage_arn                string     Utf8 not null
    session_id               string     Utf8 not null
    session_start_time       timestamp  Timestamp(ms, "UTC") not null
    session_end_time         timestamp  Timestamp(ms, "UTC") not null
    participant_id           string     Utf8
    user_id                  string     Utf8
    state                    string     Utf8
    first_join_time          timestamp  Timestamp(ms, "UTC")
    published                boolean    Boolean
    recording_state          string     Utf8
    replication_type         string     Utf8
    replication_state        string     Utf8
    source_stage_arn         string     Utf8
    source_session_id        string     Utf8
    redundant_ingest         boolean    Boolean
    ingest_configuration_arn string     Utf8
    "#);
}

fn event(id: &str, second: Option<i64>, name: Option<&str>) -> Event {
    Event {
        person: Arc::new(Person {
            participant_id: id.into(),
            user_id: None,
        }),
        event_time: second.map(|second| millis(1_763_480_000_000 + second * 1000)),
        name: name.map(Into::into),
        replica: Some(false),
        ..Event::default()
    }
}

#[test]
fn events_survive_the_file_with_their_tokens() {
    let map = |entries: &[(&str, &str)]| {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        Some(entries.iter().map(owned).collect::<Map>())
    };
    let mut exchanged = event("p1", Some(1), Some("TOKEN_EXCHANGED"));
    exchanged.rare = Some(Box::new(Rare {
        error_code: Some("NEW".to_owned()),
        previous_token: Some(Token {
            user_id: Some("ana".to_owned()),
            capabilities: Some(String::new()),
            expiration_time: Some(millis(1_763_490_000_000)),
            attributes: map(&[]),
        }),
        new_token: Some(Token {
            attributes: map(&[("a", "1"), ("é", "")]),
            ..Token::default()
        }),
        ..Rare::default()
    }));
    let mut joined = event("p2", None, None);
    Arc::make_mut(&mut joined.person).user_id = Some("".into());
    let rows = vec![exchanged, joined];
    let file = PARTICIPANT_EVENTS.encode(&session(), &rows).unwrap();
    let stored = PARTICIPANT_EVENTS.decode(file.into(), usize::MAX).unwrap();
    assert_eq!(stored.rows, rows);
}

#[test]
fn events_lie_by_participant_time_and_name_each_once() {
    let rows = vec![
        event("p2", Some(0), Some("JOINED")),
        event("p1", None, Some("LEFT")),
        event("p1", Some(1), None),
        event("p1", Some(1), Some("OF_TOMORROW")),
        event("p1", Some(1), Some("LEFT")),
        event("p1", Some(1), Some("SUBSCRIBE_STOPPED")),
        event("p1", Some(1), Some("JOINED")),
        event("p1", Some(1), Some("LEFT")),
        event("p1", Some(0), Some("LEFT")),
    ];
    let merged = (PARTICIPANT_EVENTS.merge)(rows);
    let shown = |event: &Event| {
        let second = event.event_time.map(|time| time.timestamp() % 10);
        (second, event.name.as_deref().unwrap_or("-").to_owned())
    };
    let shown: Vec<_> = merged.iter().map(shown).collect();
    let expected = [
        (Some(0), "LEFT"),
        (Some(1), "JOINED"),
        (Some(1), "SUBSCRIBE_STOPPED"),
        (Some(1), "LEFT"),
        (Some(1), "OF_TOMORROW"),
        (Some(1), "-"),
        (None, "LEFT"),
        (Some(0), "JOINED"),
    ];
    assert_eq!(
        shown,
        expected.map(|(second, name)| (second, name.to_owned()))
    );
}

#[test]
fn details_survive_the_file_and_nothing_asked_is_null() {
    let asked = Attendee {
        participant_id: Some("p1".into()),
        connected_ms: Some(1_800_000),
        joins: Some(0),
        leave_inferred: Some(false),
        details: Some(Box::new(Details {
            browser_name: Some("".into()),
            ..Details::default()
        })),
        ..Attendee::default()
    };
    let rows = vec![asked, Attendee::default()];
    let file = ATTENDANCE.encode(&session(), &rows).unwrap();
    let stored = ATTENDANCE.decode(file.into(), usize::MAX).unwrap();
    assert_eq!(stored.rows, rows);
}

#[test]
fn of_two_rows_of_a_session_the_later_times_stay_and_the_last_name() {
    let row = |name: Option<&str>, end: Option<i64>, written: Option<i64>| Session {
        stage_arn: Some("stage".to_owned()),
        session_id: Some("session".to_owned()),
        session_start_time: Some(millis(0)),
        stage_name: name.map(str::to_owned),
        session_end_time: end.map(millis),
        participants_written_time: written.map(millis),
        ..Session::default()
    };
    let stored = row(Some("old"), Some(2), None);
    let fresh = row(Some("new"), Some(1), Some(3));
    let unnamed = row(None, None, None);
    let merged = (SESSIONS.merge)(vec![stored, fresh, unnamed]);
    assert_eq!(merged, [row(Some("new"), Some(2), Some(3))]);
    let file = SESSIONS.encode(&(), &merged).unwrap();
    let stored = SESSIONS.decode(file.into(), usize::MAX).unwrap();
    assert_eq!(stored.rows, merged);
}
