//! The arithmetic of the bill, from numbers that it is given by name. `docs/costs.md` says the same formula in words.
//!
//! Where the truth depends on how work happens to be spread, the dearer case is taken: every message an invocation of
//! its own, every call to IVS as long as its pace allows, every page of a list begun.

use std::collections::BTreeMap;

const MONTH_DAYS: f64 = 30.0;
const MONTH_HOURS: f64 = MONTH_DAYS * 24.0;
const MONTH_SECONDS: f64 = MONTH_HOURS * 3600.0;
/// Participants or sessions on a page of IVS, and objects on one of S3.
const IVS_PAGE: f64 = 100.0;
const S3_PAGE: f64 = 1000.0;
/// The part of a sweep's invocation in which it lists sessions: three fifths of 15 minutes.
const LISTING_SECONDS: f64 = 540.0;
/// To each message a send, a receive and a deletion, at most.
const SQS_REQUESTS: f64 = 3.0;
/// SQS's longest poll.
const POLL_SECONDS: f64 = 20.0;
/// Decimal, which is dearer by 7 % where AWS means 2^30.
const GB: f64 = 1e9;
/// The least that Athena charges a query for.
const LEAST_SCAN: f64 = 10e6;

/// The metrics that have data in the hours in which sessions end. Those of sweeps are told by the fields of their lines.
const OF_SESSIONS: [&str; 6] = [
    "SessionsExported",
    "SessionsConfirmed",
    "SessionsStillLive",
    "SessionsUpToDate",
    "ParticipantsWritten",
    "ExportDelay",
];

/// Whom the bill is made out for.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// That end in a month.
    pub sessions: f64,
    pub stages: f64,
    /// Of a session, on the mean.
    pub participants: f64,
    /// For how many days after its end IVS lists a session.
    pub listed_days: f64,
}

/// Numbers by name: prices, assumptions, what was measured, what the template says.
#[derive(Clone, Debug, PartialEq)]
pub struct Variables(pub BTreeMap<String, f64>);

impl Variables {
    fn get(&self, name: &str) -> Result<f64, String> {
        let value = self.0.get(name).copied();
        value.ok_or_else(|| format!("there is no number called {name}"))
    }
}

/// The parts of a bill, in US dollars a month.
#[derive(Clone, Debug)]
pub struct Bill {
    account: Account,
    parts: Vec<(&'static str, f64)>,
}

/// A month of sweeps.
struct Sweeps {
    invocations: f64,
    seconds: f64,
    /// Requests of S3's list.
    lists: f64,
}

impl Sweeps {
    /// A round asks IVS for each stage's sessions, and S3 for their objects. One sweep runs at a time, so a month of
    /// them never takes longer than a month.
    fn of(account: &Account, v: &Variables) -> Result<Self, String> {
        let ticks = v.get("ticks")?;
        let listed = account.sessions * account.listed_days / MONTH_DAYS;
        let listing = (account.stages + listed / IVS_PAGE) * v.get("stage_seconds")?;
        let parts = (listing / LISTING_SECONDS).ceil().max(1.0);
        // Each part goes through all the days, since keys begin with the day; the markers of failures are a second list.
        let lists = parts * (listed / S3_PAGE + 2.0);
        let round = listing + lists * v.get("list_seconds")?;
        let rounds = ticks.min(MONTH_SECONDS / round);
        Ok(Self {
            invocations: ticks.max(rounds * parts),
            seconds: rounds * round,
            lists: rounds * lists,
        })
    }
}

impl Bill {
    /// Makes the bill out.
    ///
    /// # Errors
    /// When a number is missing.
    pub fn of(account: &Account, v: &Variables) -> Result<Self, String> {
        let get = |name: &str| v.get(name);
        let Account {
            sessions,
            participants,
            ..
        } = *account;
        let hints = get("hints")?;
        let pages = participants / IVS_PAGE + 1.0;
        // Each hint, the tick that finds the session before its last hint, whose delay is not over, and the one that has
        // it confirmed. Two of these list it, the others are a call each.
        let messages = sessions * (hints + 2.0);
        let export_seconds = sessions * get("call_seconds")? * (2.0 * pages + hints);
        let sweeps = Sweeps::of(account, v)?;
        let gb_second = get("memory_gb")? * get("lambda_gb_second")?;
        let invocations = messages + sweeps.invocations;

        let (standard, fifo) = (get("sqs_request")?, get("sqs_fifo_request")?);
        let of_a_sweep = standard + (SQS_REQUESTS + 1.0) * fifo;
        let polls = get("pollers")? * MONTH_SECONDS / POLL_SECONDS;

        let (s3_put, s3_get) = (get("s3_put")?, get("s3_get")?);
        let puts = sessions * get("session_puts")?;
        let gets = sessions * get("session_gets")?;
        let bytes = get("object_bytes")? + participants * get("participant_bytes")?;
        let stored = sessions * bytes / GB * get("s3_gb_month")?;

        let (queries, days) = (get("queries")?, get("query_days")?);
        let read = sessions * days / MONTH_DAYS;
        let scan = queries * (read * bytes).max(LEAST_SCAN) * get("athena_tb")? / (1000.0 * GB);
        let query_gets = queries * read * get("object_reads")?;
        let query_lists = queries * (days + read / S3_PAGE);

        let logged = messages * get("look_log_bytes")?
            + sweeps.invocations * get("sweep_log_bytes")?
            + invocations * get("lambda_log_bytes")?;
        let kept = get("log_gb_month")? * get("log_days")? / MONTH_DAYS;
        let hours = |data: f64| data.min(MONTH_HOURS) / MONTH_HOURS;
        let metrics = get("sweep_metrics")? * hours(sweeps.invocations)
            + get("session_metrics")? * hours(messages);

        let keys = get("kms_keys")?;
        let of_key = get("kms_key")? + (puts + gets + query_gets) * get("kms_request")?;
        let parts = vec![
            ("Lambda: exports", export_seconds * gb_second),
            ("Lambda: sweeps", sweeps.seconds * gb_second),
            ("Lambda: requests", invocations * get("lambda_request")?),
            (
                "SQS: messages",
                messages * SQS_REQUESTS * standard + sweeps.invocations * of_a_sweep,
            ),
            ("SQS: idle polls", polls * (standard + fifo)),
            (
                "S3: requests",
                (puts + sweeps.lists) * s3_put + gets * s3_get,
            ),
            ("S3: storage", stored * get("months")?),
            (
                "S3: noncurrent",
                stored * get("noncurrent_days")? / MONTH_DAYS,
            ),
            ("Athena: scan", scan),
            (
                "Athena: requests to S3",
                query_gets * s3_get + query_lists * s3_put,
            ),
            (
                "schedule, events",
                (sessions * hints + get("ticks")?) * get("eventbridge_event")?,
            ),
            ("logs", logged / GB * (get("log_gb")? + kept)),
            ("metrics", metrics * get("metric")?),
            ("alarms", get("alarm_metrics")? * get("alarm")?),
            ("dashboard", get("dashboards")? * get("dashboard")?),
            ("KMS", keys * of_key),
        ];
        Ok(Self {
            account: account.clone(),
            parts,
        })
    }

    #[must_use]
    pub fn total(&self) -> f64 {
        self.parts.iter().map(|(_, dollars)| dollars).sum()
    }
}

/// The bills, one a row, with each part in a column.
#[must_use]
pub fn table(bills: &[Bill]) -> String {
    let names = bills.first().map(|bill| bill.parts.iter());
    let names: Vec<_> = names.into_iter().flatten().map(|(name, _)| *name).collect();
    let head = format!(
        "| sessions a month | stages | days listed | **total** | {} |\n{}",
        names.join(" | "),
        "|---".repeat(names.len() + 4) + "|"
    );
    let rows = bills.iter().map(|bill| {
        let Account {
            sessions,
            stages,
            listed_days,
            ..
        } = bill.account;
        let parts: String = bill
            .parts
            .iter()
            .map(|(_, price)| format!(" {} |", dollars(*price)))
            .collect();
        let total = dollars(bill.total());
        let (sessions, stages) = (thousands(sessions), thousands(stages));
        format!("\n| {sessions} | {stages} | {listed_days} | **{total}** |{parts}")
    });
    head + &rows.collect::<String>() + "\n"
}

/// The first three totals in a few words, as README has them.
#[must_use]
pub fn headline(bills: &[Bill]) -> String {
    let totals = bills.iter().take(3).map(|bill| {
        let sessions = thousands(bill.account.sessions);
        format!("{} for {sessions} sessions", dollars(bill.total()))
    });
    totals.collect::<Vec<_>>().join(", ")
}

/// What sweeps alone cost by the number of stages, where few sessions are listed.
///
/// # Errors
/// When a number is missing.
pub fn sweeps_table(v: &Variables) -> Result<String, String> {
    let mut text =
        "| stages | seconds of a round | Lambda, S3 and SQS a month |\n|---|---|---|\n".to_owned();
    for stages in [10.0, 100.0, 1000.0] {
        let account = Account {
            sessions: 0.0,
            stages,
            participants: 0.0,
            listed_days: 0.0,
        };
        let sweeps = Sweeps::of(&account, v)?;
        let of_sweeps = [
            "Lambda: sweeps",
            "Lambda: requests",
            "SQS: messages",
            "S3: requests",
        ];
        let bill = Bill::of(&account, v)?;
        let parts = bill
            .parts
            .iter()
            .filter(|(name, _)| of_sweeps.contains(name));
        let price: f64 = parts.map(|(_, price)| price).sum();
        let seconds = sweeps.seconds / sweeps.invocations;
        let (stages, price) = (thousands(stages), dollars(price));
        text += &format!("| {stages} | {seconds:.1} | {price} |\n");
    }
    Ok(text)
}

/// The numbers that the template decides, read from its text as it is laid out here.
///
/// # Errors
/// When something is not found.
pub fn of_template(template: &str) -> Result<BTreeMap<String, f64>, String> {
    let number_after = |text: &str, key: &str| {
        let value = text
            .split_once(key)
            .and_then(|(_, rest)| rest.lines().next());
        let value = value.and_then(|value| value.trim().trim_matches('"').parse::<f64>().ok());
        value.ok_or_else(|| format!("the template has no number after {key}"))
    };
    let default = |parameter: &str| {
        let key = format!("\n  {parameter}:\n");
        let of_parameter = template.split_once(&key).map_or("", |(_, rest)| rest);
        number_after(of_parameter, "Default: ")
    };
    let resources = |kind: &'static str| template.split(kind).skip(1);
    let alarms = resources("Type: AWS::CloudWatch::Alarm\n").map(|alarm| {
        let alarm = alarm.split("\n    Type: ").next().unwrap_or_default();
        // One of several metrics is charged for each of them.
        alarm.matches("MetricStat:").count().max(1)
    });
    let filters = || resources("Type: AWS::Logs::MetricFilter\n");
    let of_sweeps =
        filters().filter(|filter| first_line(filter, "FilterPattern:").contains("$.stages"));
    let of_sessions = filters()
        .filter(|filter| OF_SESSIONS.contains(&first_line(filter, "MetricName: ").as_str()));
    let count = |count: usize| count as f64;
    let numbers = [
        (
            "memory_gb",
            number_after(template, "MemorySize: ")? / 1024.0,
        ),
        ("noncurrent_days", default("NoncurrentVersionDays")?),
        ("log_days", default("LogRetentionDays")?),
        ("alarm_metrics", count(alarms.sum())),
        (
            "dashboards",
            count(resources("Type: AWS::CloudWatch::Dashboard\n").count()),
        ),
        ("sweep_metrics", count(of_sweeps.count())),
        ("session_metrics", count(of_sessions.count())),
    ];
    Ok(numbers
        .map(|(name, number)| (name.to_owned(), number))
        .into())
}

fn first_line(text: &str, key: &str) -> String {
    let line = text
        .split_once(key)
        .and_then(|(_, rest)| rest.lines().next());
    line.unwrap_or_default().trim().to_owned()
}

/// The template's numbers as the page shows them.
#[must_use]
pub fn template_table(numbers: &BTreeMap<String, f64>) -> String {
    let meaning = |name: &str| match name {
        "memory_gb" => "GB, `MemorySize`",
        "noncurrent_days" => "days, `NoncurrentVersionDays`",
        "log_days" => "days, `LogRetentionDays`",
        "alarm_metrics" => "metrics that alarms look at, each counted for each alarm",
        "dashboards" => "dashboards",
        "sweep_metrics" => "metrics that have data at each sweep",
        "session_metrics" => "metrics that have data in hours in which sessions end",
        _ => "",
    };
    let rows = numbers
        .iter()
        .map(|(name, number)| format!("| `{name}` | {number} | {} |\n", meaning(name)));
    "| from the template | | unit |\n|---|---|---|\n".to_owned() + &rows.collect::<String>()
}

/// To the cent, and what is less and not nothing as such.
fn dollars(price: f64) -> String {
    match price {
        0.0 => "0".to_owned(),
        price if price < 0.005 => "<$0.01".to_owned(),
        price => format!("${price:.2}"),
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prices and measures that are easy on the head, each different from the others.
    fn variables() -> Variables {
        let numbers = [
            ("lambda_gb_second", 10e-6),
            ("lambda_request", 0.2e-6),
            ("sqs_request", 0.4e-6),
            ("sqs_fifo_request", 0.5e-6),
            ("s3_put", 5e-6),
            ("s3_get", 0.4e-6),
            ("s3_gb_month", 0.02),
            ("athena_tb", 5.0),
            ("eventbridge_event", 0.0),
            ("log_gb", 0.5),
            ("log_gb_month", 0.03),
            ("metric", 0.3),
            ("alarm", 0.1),
            ("dashboard", 3.0),
            ("kms_key", 1.0),
            ("kms_request", 3e-6),
            ("ticks", 2880.0),
            ("hints", 5.0),
            ("pollers", 5.0),
            ("months", 12.0),
            ("queries", 100.0),
            ("query_days", 15.0),
            ("object_reads", 2.0),
            ("list_seconds", 0.0),
            ("lambda_log_bytes", 1000.0),
            ("kms_keys", 0.0),
            ("call_seconds", 0.5),
            ("stage_seconds", 0.25),
            ("session_puts", 2.0),
            ("session_gets", 3.0),
            ("object_bytes", 5000.0),
            ("participant_bytes", 50.0),
            ("look_log_bytes", 500.0),
            ("sweep_log_bytes", 400.0),
            ("memory_gb", 0.5),
            ("noncurrent_days", 60.0),
            ("log_days", 30.0),
            ("alarm_metrics", 12.0),
            ("dashboards", 1.0),
            ("sweep_metrics", 6.0),
            ("session_metrics", 6.0),
        ];
        Variables(
            numbers
                .map(|(name, number)| (name.to_owned(), number))
                .into(),
        )
    }

    const ACCOUNT: Account = Account {
        sessions: 10_000.0,
        stages: 100.0,
        participants: 100.0,
        listed_days: 60.0,
    };

    fn assert_close(got: f64, expected: f64, name: &str) {
        assert!(
            (got - expected).abs() < 1e-9 + 1e-6 * expected,
            "{name}: {got} is not {expected}"
        );
    }

    #[test]
    fn the_bill_is_the_one_worked_out_by_hand() {
        let bill = Bill::of(&ACCOUNT, &variables()).unwrap();

        // 2 pages twice and 5 calls: 9 of 0.5 s. 10,000 × 4.5 s × 0.5 GB = 22,500 GB-seconds.
        // IVS lists 20,000 sessions: (100 + 200) calls of 0.25 s are 75 s, 2,880 times, at 0.5 GB: 108,000 GB-seconds.
        // 7 messages a session are 70,000, and with the sweeps 72,880 invocations.
        // 210,000 requests of messages, and at each sweep one of the queue of work and four of its own: 2.4 millionths.
        // 5 pollers, three times a minute, 43,200 minutes: 648,000 polls of each queue.
        // 20,000 PUTs, 30,000 GETs, and (20 + 2) lists at each of 2,880 sweeps: 63,360.
        // An object has 10,000 bytes, so a month adds 0.1 GB: $0.002.
        // A query reads 5,000 objects, 50 MB: a hundred of them 5 GB, a million GETs, and 100 × (15 + 5) lists.
        // 70,000 × 500 + 2,880 × 400 + 72,880 × 1,000 bytes are 109.032 MB, at $0.53.
        let expected = [
            ("Lambda: exports", 0.225),
            ("Lambda: sweeps", 1.08),
            ("Lambda: requests", 0.014_576),
            ("SQS: messages", 0.084 + 0.006_912),
            ("SQS: idle polls", 0.5832),
            ("S3: requests", 0.1 + 0.012 + 0.3168),
            ("S3: storage", 0.024),
            ("S3: noncurrent", 0.004),
            ("Athena: scan", 0.025),
            ("Athena: requests to S3", 0.4 + 0.01),
            ("schedule, events", 0.0),
            ("logs", 0.057_786_96),
            ("metrics", 3.6),
            ("alarms", 1.2),
            ("dashboard", 3.0),
            ("KMS", 0.0),
        ];
        assert_eq!(bill.parts.len(), expected.len());
        for ((name, got), (expected_name, expected)) in bill.parts.iter().zip(expected) {
            assert_eq!(*name, expected_name);
            assert_close(*got, expected, name);
        }
        let sum = expected.iter().map(|(_, dollars)| dollars).sum();
        assert_close(bill.total(), sum, "the total");
    }

    #[test]
    fn sweeps_that_take_longer_than_a_tick_fill_the_month_and_no_more() {
        let account = Account {
            sessions: 100_000.0,
            stages: 1000.0,
            listed_days: 300.0,
            ..ACCOUNT
        };
        let sweeps = Sweeps::of(&account, &variables()).unwrap();
        // A million sessions: (1,000 + 10,000) calls of 0.25 s, in 6 parts, each with 1,002 lists.
        let rounds = 2_592_000.0 / 2750.0;
        assert_close(sweeps.seconds, 2_592_000.0, "seconds");
        assert_close(sweeps.invocations, rounds * 6.0, "invocations");
        assert_close(sweeps.lists, rounds * 6.0 * 1002.0, "lists");
    }

    #[test]
    fn a_small_account_pays_for_the_hours_with_data_and_the_least_scan() {
        let account = Account {
            sessions: 36.0,
            ..ACCOUNT
        };
        let bill = Bill::of(&account, &variables()).unwrap();
        let part = |wanted: &str| bill.parts.iter().find(|(name, _)| *name == wanted);
        // 252 messages in as many of 720 hours: 0.35 of a month.
        assert_close(part("metrics").unwrap().1, 1.8 * 1.35, "metrics");
        assert_close(part("Athena: scan").unwrap().1, 100.0 * 50e-6, "scan");
    }

    #[test]
    fn a_key_costs_its_month_and_each_request_for_an_object() {
        let mut variables = variables();
        variables.0.insert("kms_keys".to_owned(), 1.0);
        let bill = Bill::of(&ACCOUNT, &variables).unwrap();
        // 20,000 + 30,000 of the function, and a million of Athena.
        let (_, price) = bill.parts.last().unwrap();
        assert_close(*price, 1.0 + 1_050_000.0 * 3e-6, "KMS");
    }

    #[test]
    fn the_templates_numbers_are_found_in_its_text() {
        let template = "
Parameters:
  LogRetentionDays:
    Type: Number
    Default: 14
  NoncurrentVersionDays:
    Default: \"7\"
Resources:
  Function:
      MemorySize: 256
  Exported:
    Type: AWS::Logs::MetricFilter
    Properties:
      FilterPattern: '{ $.outcome = \"exported\" }'
      MetricTransformations:
        - MetricName: SessionsExported
  Errors:
    Type: AWS::Logs::MetricFilter
    Properties:
      FilterPattern: '{ $.error_type = \"*\" }'
      MetricTransformations:
        - MetricName: Errors
  Sweeps:
    Type: AWS::Logs::MetricFilter
    Properties:
      FilterPattern: '{ $.stages >= 0 }'
      MetricTransformations:
        - MetricName: Sweeps
  One:
    Type: AWS::CloudWatch::Alarm
    Properties:
      MetricName: Errors
  Three:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Metrics:
        - MetricStat:
        - MetricStat:
        - MetricStat:
  Board:
    Type: AWS::CloudWatch::Dashboard
";
        let expected = [
            ("alarm_metrics", 4.0),
            ("dashboards", 1.0),
            ("log_days", 14.0),
            ("memory_gb", 0.25),
            ("noncurrent_days", 7.0),
            ("session_metrics", 1.0),
            ("sweep_metrics", 1.0),
        ];
        let expected = expected.map(|(name, number)| (name.to_owned(), number));
        assert_eq!(of_template(template), Ok(expected.into()));
        assert!(of_template("").is_err());
    }

    #[test]
    fn dollars_are_told_to_the_cent() {
        assert_eq!(dollars(0.0), "0");
        assert_eq!(dollars(0.0049), "<$0.01");
        assert_eq!(dollars(17.284), "$17.28");
        assert_eq!(thousands(100_000.0), "100,000");
        assert_eq!(thousands(10.0), "10");
    }
}
