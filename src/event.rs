//! Every payload that may reach the function, and the work that it asks for.
//!
//! A payload is an EventBridge event of IVS Real-Time (a *hint*: it names a session that may have ended), a request by
//! hand, a sweep, a collection, or an SQS batch of these. Events gain members about twice a year, so unknown ones are ignored; in a request
//! by hand they are refused, because a mistyped option must not start the real thing. This file calls nothing.
//!
//! Event shapes: <https://docs.aws.amazon.com/ivs/latest/RealTimeUserGuide/eventbridge.html>; batches:
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>.

use aws_lambda_events::sqs::SqsMessage;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::collect;
use crate::error::Error;
use crate::reconcile::Request;
use crate::session::{Rule, SessionRef, StageArn};
use crate::sweep::Sweep;

/// A payload, read.
#[derive(Debug)]
pub enum Payload {
    /// To be answered with a report.
    One(Work),
    /// An SQS batch, to be answered with the messages that failed.
    Batch(Vec<Message>),
}

/// What a payload, or one message of a batch, asks for.
#[derive(Debug)]
pub enum Work {
    Session(Request),
    Collect(collect::Request),
    Sweep(Sweep),
}

/// One message of a batch, and what could be read from it.
#[derive(Debug)]
pub struct Message {
    pub id: String,
    pub body: String,
    /// How often it was received, this time included.
    pub receives: u32,
    /// True if it comes from the queue of sweeps. A message that came back would block the ticks after it.
    pub from_sweeps: bool,
    pub work: Result<Work, Error>,
}

const PAYLOADS: &str = "must be an EventBridge event of source aws.ivs, a request \
                        {\"stage_arn\":…,\"session_id\":…}, a sweep {\"sweep\":{}}, a collection \
                        {\"collect\":{\"stage_arn\":…,\"session_id\":…}}, or an SQS batch of these";
const DETAIL_TYPES: [&str; 2] = ["IVS Stage Update", "IVS Participant Recording State Change"];

/// Where a payload arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The region that the function asks; a stage of another one is refused.
    pub region: &'a str,
    /// The name of the queue of collections. Any other FIFO queue is that of sweeps.
    pub collect_queue: &'a str,
    pub now: DateTime<Utc>,
}

/// Reads a payload.
///
/// # Errors
/// [`Error::InvalidEvent`], with the member, its value and the rule. A bad message of a batch is an error of that
/// message only.
pub fn parse(mut payload: Value, arrival: Arrival<'_>) -> Result<Payload, Error> {
    if payload.get("Records").is_none() {
        return work(payload, arrival).map(Payload::One);
    }
    // One by one: a record that this function cannot read must not fail the others.
    let Some(Value::Array(records)) = payload.get_mut("Records").map(Value::take) else {
        return Err(Error::invalid(
            "Records",
            "of another type",
            "must be the list of an SQS batch's messages",
        ));
    };
    let messages = records.into_iter().map(|record| message(record, arrival));
    messages.collect::<Result<_, _>>().map(Payload::Batch)
}

fn message(mut record: Value, arrival: Arrival<'_>) -> Result<Message, Error> {
    // Not used, and of a shape that the crate is strict about.
    if let Some(attributes) = record.get_mut("messageAttributes") {
        attributes.take();
    }
    // Without an id a failure could not be reported, and the message would be lost as done.
    let Some(id) = record
        .get("messageId")
        .and_then(Value::as_str)
        .map(str::to_owned)
    else {
        return Err(Error::invalid("Records[].messageId", "", "must be there"));
    };
    let record: SqsMessage = match read(record, "Records[]", "must be a message of SQS") {
        Ok(record) => record,
        Err(error) => {
            return Ok(Message {
                id,
                body: String::new(),
                receives: 1,
                from_sweeps: false,
                work: Err(error),
            });
        }
    };
    let body = record.body.unwrap_or_default();
    let receives = record.attributes.get("ApproximateReceiveCount");
    let receives = receives.and_then(|count| count.parse().ok()).unwrap_or(1);
    let work = serde_json::from_str(&body)
        .map_err(|error| Error::InvalidEvent {
            field: "body".to_owned(),
            // Not quoted: bodies carry user ids, which must not be logged.
            value: format!("of {} bytes", body.len()),
            rule: format!("must be JSON, but {error}"),
        })
        .and_then(|payload| self::work(payload, arrival));
    let queue = record.event_source_arn.unwrap_or_default();
    let queue = queue.rsplit(':').next().unwrap_or_default();
    Ok(Message {
        id,
        body,
        receives,
        from_sweeps: queue.strip_suffix(".fifo").is_some() && queue != arrival.collect_queue,
        work,
    })
}

fn work(payload: Value, arrival: Arrival<'_>) -> Result<Work, Error> {
    let Arrival { region, now, .. } = arrival;
    let has = |member| payload.get(member).is_some();
    if has("source") || has("detail-type") {
        hint(&payload, region).map(Work::Session)
    } else if has("sweep") {
        sweep(payload, region).map(Work::Sweep)
    } else if has("collect") {
        collection(payload, region, now).map(Work::Collect)
    } else if has("stage_arn") || has("session_id") {
        by_hand(payload, region, now).map(Work::Session)
    } else {
        // Names only, and few: the values may say who was there.
        let names = payload.as_object().map(|object| {
            object
                .keys()
                .take(8)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        });
        let value = match names {
            Some(names) => format!(
                "with the members [{}]",
                names.chars().take(200).collect::<String>()
            ),
            None => "that is no JSON object".to_owned(),
        };
        Err(Error::InvalidEvent {
            field: "payload".to_owned(),
            value,
            rule: PAYLOADS.to_owned(),
        })
    }
}

fn hint(payload: &Value, region: &str) -> Result<Request, Error> {
    // First the members that tell whether the event is for us: a look-alike may differ in any other.
    for (member, expected) in [
        ("source", &["aws.ivs"][..]),
        ("detail-type", &DETAIL_TYPES[..]),
    ] {
        let value = payload
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !expected.contains(&value) {
            let rule = format!(
                "must be {}: only those events name a stage session",
                expected.join(" or ")
            );
            return Err(Error::invalid(member, value, rule));
        }
    }
    // All other members are ignored.
    let text = |pointer: &str| {
        payload
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let time = text("/time").and_then(|time| DateTime::parse_from_rfc3339(&time).ok());
    let (stage_arn, session_id) = (text("/resources/0"), text("/detail/session_id"));
    Ok(Request {
        session: session(
            ("resources[0]", stage_arn),
            ("detail.session_id", session_id),
            region,
        )?,
        start_time: None,
        hinted_at: time.map(|time| time.to_utc()),
        only_hinted: true,
        rewrite_before: None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    stage_arn: Option<String>,
    session_id: Option<String>,
    session_start_time: Option<String>,
    rewrite_before: Option<String>,
}

fn by_hand(payload: Value, region: &str, now: DateTime<Utc>) -> Result<Request, Error> {
    let rule = "must be {\"stage_arn\":…,\"session_id\":…}";
    let asked = read::<ByHand>(payload, "request", rule)?.check("", region, now)?;
    Ok(Request {
        session: asked.session,
        start_time: asked.start_time,
        hinted_at: None,
        only_hinted: false,
        rewrite_before: asked.rewrite_before,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectByHand {
    collect: ByHand,
}

fn collection(payload: Value, region: &str, now: DateTime<Utc>) -> Result<collect::Request, Error> {
    let rule = "must be {\"collect\":{\"stage_arn\":…,\"session_id\":…}}";
    let CollectByHand { collect } = read(payload, "collect", rule)?;
    collect.check("collect.", region, now)
}

impl ByHand {
    /// Checks the members, which are named in errors behind `within`.
    fn check(
        self,
        within: &str,
        region: &str,
        now: DateTime<Utc>,
    ) -> Result<collect::Request, Error> {
        let field = |member| format!("{within}{member}");
        let rewrite_before = self
            .rewrite_before
            .map(|text| past(&field("rewrite_before"), &text, now))
            .transpose()?;
        let start_time = self
            .session_start_time
            .map(|text| instant(&field("session_start_time"), &text))
            .transpose()?;
        let session = session(
            (&field("stage_arn"), self.stage_arn),
            (&field("session_id"), self.session_id),
            region,
        )?;
        Ok(collect::Request {
            session,
            start_time,
            rewrite_before,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepByHand {
    sweep: SweepOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct SweepOptions {
    stage_arn: Option<String>,
    dry_run: bool,
    after: Option<String>,
}

fn sweep(payload: Value, region: &str) -> Result<Sweep, Error> {
    let SweepByHand { sweep } = read(
        payload,
        "sweep",
        "must be {\"sweep\":{}} with at most stage_arn, dry_run and, in a dry run, after",
    )?;
    if let Some(after) = sweep.after.as_ref().filter(|_| !sweep.dry_run) {
        let rule = "must be left out, except in a dry run: a sweep looks at all stages";
        return Err(Error::invalid("sweep.after", after, rule));
    }
    let stage = |field, arn: Option<String>| arn.map(|arn| stage(field, &arn, region)).transpose();
    Ok(Sweep {
        stage_arn: stage("sweep.stage_arn", sweep.stage_arn)?,
        dry_run: sweep.dry_run,
        after: stage("sweep.after", sweep.after)?,
    })
}

fn session(
    (arn_field, arn): (&str, Option<String>),
    (id_field, id): (&str, Option<String>),
    region: &str,
) -> Result<SessionRef, Error> {
    let id = id.unwrap_or_default();
    let stage_arn = stage(arn_field, &arn.unwrap_or_default(), region)?;
    let session_id = id
        .parse()
        .map_err(|rule: Rule| Error::invalid(id_field, &id, rule.0))?;
    Ok(SessionRef {
        stage_arn,
        session_id,
    })
}

fn stage(field: &str, arn: &str, region: &str) -> Result<StageArn, Error> {
    let stage_arn: StageArn = arn
        .parse()
        .map_err(|rule: Rule| Error::invalid(field, arn, rule.0))?;
    if stage_arn.region() != region {
        let rule = format!("must be a stage of {region}, the only region that this function asks");
        return Err(Error::invalid(field, arn, rule));
    }
    Ok(stage_arn)
}

fn instant(field: &str, text: &str) -> Result<DateTime<Utc>, Error> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    time.map_err(|_| {
        let rule = "must be an instant by RFC 3339, like 2026-11-23T18:00:00Z";
        Error::invalid(field, text, rule)
    })
}

fn past(field: &str, text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    let time = instant(field, text)?;
    if time > now {
        // Each redelivery would find the file too old again.
        return Err(Error::invalid(
            field,
            text,
            format!("must not lie in the future, and now is {now}"),
        ));
    }
    Ok(time)
}

fn read<T: serde::de::DeserializeOwned>(
    payload: Value,
    field: &str,
    rule: &str,
) -> Result<T, Error> {
    serde_json::from_value(payload).map_err(|error| Error::InvalidEvent {
        field: field.to_owned(),
        value: "of another shape".to_owned(),
        rule: format!("{rule}, but {error}"),
    })
}
