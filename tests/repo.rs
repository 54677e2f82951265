//! What is written in more than one place agrees: the template with the code, the pages with the columns and with each
//! other, each module with the one vocabulary that it speaks.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ivs_attendance::batch::MOST_RECEIVES;
use ivs_attendance::config::{Config, ConfigError, Scope};
use ivs_attendance::event::{self, Arrival, Payload, Work};
use ivs_attendance::sweep::Sweep;
use ivs_attendance::table::Table;
use ivs_attendance::table::attendance::ATTENDANCE;
use ivs_attendance::table::participant_events::PARTICIPANT_EVENTS;
use ivs_attendance::table::participants::PARTICIPANTS;
use ivs_attendance::table::sessions::SESSIONS;
use serde_json::{Value, json};

fn template() -> Value {
    let python = Path::new(".venv/bin/python3");
    assert!(
        python.exists(),
        "the template's tools are missing; `make test` installs them"
    );
    let output = Command::new(python)
        .args(["tests/template_json.py", "template.yaml"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn properties<'a>(template: &'a Value, resource: &str) -> &'a Value {
    let properties = &template["Resources"][resource]["Properties"];
    assert!(
        properties.is_object(),
        "the template has a resource {resource}"
    );
    properties
}

fn page(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// A module's code without its unit tests, which may speak any vocabulary.
fn module(name: &str) -> String {
    let text = std::fs::read_to_string(format!("src/{name}")).unwrap();
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap()
        .split("#[cfg(test)]\npub(crate) mod tests")
        .next()
        .unwrap()
        .to_owned()
}

/// The files of `src/`, those in its folders too, but for the ones that hold tests alone.
fn modules() -> Vec<String> {
    let files = |folder: &str| -> Vec<String> {
        let files = std::fs::read_dir(format!("src/{folder}")).unwrap();
        let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| format!("{folder}{name}")).collect()
    };
    let inner = ["collect/", "ivs/", "presence/", "table/"]
        .into_iter()
        .flat_map(files);
    let all = files("").into_iter().chain(inner);
    all.filter(|name| {
        let stem = name.strip_suffix(".rs");
        stem.is_some_and(|stem| !stem.ends_with("tests"))
    })
    .collect()
}

/// A table of the code: its name, its resource in the template, and the name, type and meaning of each column.
struct CodesTable {
    name: &'static str,
    resource: &'static str,
    columns: Vec<[&'static str; 3]>,
}

fn tables() -> [CodesTable; 4] {
    fn of<R, C>(table: &Table<R, C>, resource: &'static str) -> CodesTable {
        let columns = table.columns.iter();
        let columns = columns.map(|it| [it.name, it.athena_type(), it.comment]);
        CodesTable {
            name: table.name,
            resource,
            columns: columns.collect(),
        }
    }
    [
        of(&PARTICIPANTS, "ParticipantsTable"),
        of(&PARTICIPANT_EVENTS, "ParticipantEventsTable"),
        of(&ATTENDANCE, "AttendanceTable"),
        of(&SESSIONS, "SessionsTable"),
    ]
}

/// A text as a scalar of YAML, in quotes where it needs them.
fn scalar(text: &str) -> String {
    if text.contains(": ") || text.contains(" #") {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        text.to_owned()
    }
}

#[test]
fn the_glue_tables_have_the_codes_columns() {
    let template = template();
    for table in tables() {
        let CodesTable {
            name,
            resource,
            columns,
        } = table;
        let glue = &properties(&template, resource)["TableInput"];
        assert_eq!(glue["Name"], name);
        let expected = columns.iter().map(|[name, kind, comment]| {
            // Glue takes no longer one.
            assert!(comment.len() <= 255, "the meaning of {name} is too long");
            json!({ "Name": name, "Type": kind, "Comment": comment })
        });
        let expected = Value::Array(expected.collect());
        let block: String = columns
            .iter()
            .map(|[name, kind, comment]| {
                format!(
                    "            - Name: {name}\n              Type: {kind}\n              Comment: {}\n",
                    scalar(comment)
                )
            })
            .collect();
        assert!(
            glue["StorageDescriptor"]["Columns"] == expected,
            "paste into template.yaml, {resource}:\n{block}"
        );
    }
}

#[test]
fn the_page_of_data_explains_the_codes_columns() {
    let page = page("docs/data.md");
    for CodesTable { name, columns, .. } in tables() {
        let rows = columns
            .iter()
            .map(|[name, kind, comment]| format!("| `{name}` | {kind} | {comment} |\n"));
        let rows: String = rows.collect();
        assert!(
            page.contains(&rows),
            "paste into docs/data.md, {name}:\n{rows}"
        );
    }
}

/// What the template says of its views in Glue.
fn views(template: &Value) -> Vec<&Value> {
    let resources = template["Resources"].as_object().unwrap().values();
    let inputs = resources.map(|resource| &resource["Properties"]["TableInput"]);
    inputs
        .filter(|input| input["TableType"] == "VIRTUAL_VIEW")
        .collect()
}

/// SQL without comments, wherever its lines end.
fn words(sql: &str) -> Vec<&str> {
    let lines = sql.lines().filter(|line| !line.starts_with("--"));
    lines.flat_map(str::split_whitespace).collect()
}

/// Without comments, because the definition has the SQL in a single line. That its columns are those of the SQL, `make athena`
/// shows.
#[test]
fn each_view_has_the_sql_of_its_file_and_the_columns_of_its_definition() {
    let template = template();
    let mut files: Vec<_> = std::fs::read_dir("queries/views")
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut views = views(&template);
    views.sort_by_key(|view| view["Name"].as_str());
    assert_eq!(views.len(), files.len());
    for (view, file) in views.into_iter().zip(files) {
        let name = view["Name"].as_str().unwrap();
        assert_eq!(file.file_stem().unwrap(), name);
        let definition = &view["ViewOriginalText"]["Fn::Join"][1][1]["Fn::Base64"]["Fn::Sub"];
        let definition: Value = serde_json::from_str(definition.as_str().unwrap()).unwrap();
        let defined = definition["originalSql"].as_str().unwrap();
        assert_eq!(
            words(defined),
            words(&std::fs::read_to_string(file).unwrap()),
            "{name}"
        );

        let kinds = [
            ("varchar", "string"),
            ("timestamp(3)", "timestamp"),
            ("boolean", "boolean"),
        ];
        let kinds = BTreeMap::from(kinds);
        let columns = definition["columns"].as_array().unwrap();
        let columns = columns.iter().map(|column| {
            let kind = kinds[column["type"].as_str().unwrap()];
            (column["name"].as_str().unwrap(), kind)
        });
        let in_glue = view["StorageDescriptor"]["Columns"].as_array().unwrap();
        let in_glue = in_glue.iter().map(|column| {
            let [name, kind] = ["Name", "Type"].map(|member| column[member].as_str().unwrap());
            (name, kind)
        });
        assert!(columns.eq(in_glue), "the columns of {name}");
    }
}

/// The schedules of the table `history`: what each runs of `queries/history/`, and when, on Sundays at the latest.
const HISTORY: [(&str, &str, &str); 5] = [
    ("Create", "create", "cron(10 2 * * ? *)"),
    ("Merge", "merge", "cron(10 3 * * ? *)"),
    ("MergeWeekly", "merge", "cron(10 4 ? * SUN *)"),
    ("Optimize", "optimize", "cron(10 5 ? * SUN *)"),
    ("Vacuum", "vacuum", "cron(10 6 ? * SUN *)"),
];

/// An Iceberg table has one writer at a time. Scheduler may come a quarter of an hour late, and Athena stops a statement after
/// half an hour.
#[test]
fn each_statement_about_history_is_its_files_and_they_follow_each_other() {
    let template = template();
    for (name, file, at) in HISTORY {
        let schedule = properties(&template, &format!("History{name}Schedule"));
        assert_eq!(schedule["ScheduleExpression"], at);
        assert_eq!(schedule["FlexibleTimeWindow"]["Mode"], "OFF");
        let target = &schedule["Target"];
        assert_eq!(target["RetryPolicy"]["MaximumEventAgeInSeconds"], 15 * 60);
        let dead_letters = json!({ "Fn::GetAtt": ["HistoryFailuresQueue", "Arn"] });
        assert_eq!(target["DeadLetterConfig"]["Arn"], dead_letters);
        let input = schedule["Target"]["Input"]["Fn::Sub"][0].as_str().unwrap();
        let input: Value = serde_json::from_str(input).unwrap();
        let sql = page(&format!("queries/history/{file}.sql"));
        assert_eq!(
            words(input["QueryString"].as_str().unwrap()),
            words(&sql),
            "{name}"
        );
        // Athena takes 32 characters at least.
        let token = input["ClientRequestToken"].as_str().unwrap();
        assert!(
            token.starts_with("${Stack}-"),
            "one stack's token is not another's"
        );
        assert!(
            token.ends_with("-<aws.scheduler.scheduled-time>"),
            "once for each time"
        );
    }
    let minutes = HISTORY.map(|(_, _, at)| {
        let mut numbers = at["cron(".len()..]
            .split(' ')
            .map(|it| it.parse::<u32>().unwrap());
        let minute = numbers.next().unwrap();
        60 * numbers.next().unwrap() + minute
    });
    assert!(
        minutes.windows(2).all(|pair| pair[1] - pair[0] >= 15 + 30),
        "{minutes:?}"
    );
    let files = std::fs::read_dir("queries/history").unwrap();
    let files = files.map(|file| {
        file.unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    });
    assert_eq!(
        files.collect::<BTreeSet<_>>(),
        HISTORY.map(|(_, file, _)| file.to_owned()).into()
    );
}

/// What Athena needs for the statements, what Scheduler needs, and no more.
#[test]
fn the_role_of_history_may_write_history_and_nothing_else() {
    let template = template();
    let policy = &properties(&template, "HistoryRole")["Policies"][0]["PolicyDocument"];
    let statements = policy["Statement"].as_array().unwrap();
    let mut writes = BTreeMap::<String, String>::new();
    for statement in statements.iter().map(always) {
        let reads = ["Get", "List", "Decrypt", "GenerateDataKey"];
        for action in texts(&statement["Action"]) {
            let (_, name) = action.split_once(':').unwrap();
            if !reads.iter().any(|verb| name.starts_with(verb)) {
                *writes.entry(action).or_default() += &statement["Resource"].to_string();
            }
        }
    }
    let places = [
        (
            "athena:StartQueryExecution",
            "workgroup/${HistoryWorkGroup}",
        ),
        ("glue:CreateTable", "table/${Database}/history"),
        ("glue:UpdateTable", "table/${Database}/history"),
        ("s3:AbortMultipartUpload", "history/*"),
        ("s3:DeleteObject", "${Prefix}history/*"),
        ("s3:PutObject", "history/*"),
        ("sqs:SendMessage", "HistoryFailuresQueue"),
    ];
    assert!(
        writes.keys().eq(places.iter().map(|(action, _)| action)),
        "{writes:?}"
    );
    for (action, place) in places {
        let resource = &writes[action];
        assert!(resource.contains(place), "{action}: {resource}");
        let elsewhere = ["participants", "attendance", "sessions", "parts"];
        assert!(
            !elsewhere.iter().any(|it| resource.contains(it)),
            "{action}: {resource}"
        );
    }

    let rule = &properties(&template, "HistoryFailureRule")["EventPattern"];
    assert_eq!(
        rule["detail"]["workgroupName"],
        json!([{ "Ref": "HistoryWorkGroup" }])
    );
    assert_eq!(
        rule["detail"]["currentState"],
        json!(["FAILED", "CANCELLED"])
    );
}

#[test]
fn nothing_of_history_exists_where_it_is_switched_off() {
    let template = template();
    for section in ["Resources", "Outputs"] {
        for (name, it) in template[section].as_object().unwrap() {
            let about = name.starts_with("History");
            assert_eq!(it["Condition"] == "WithHistory", about, "{name}");
        }
    }
}

#[test]
fn the_page_of_data_explains_the_views_columns() {
    let (template, page) = (template(), page("docs/data.md"));
    for view in views(&template) {
        let columns = view["StorageDescriptor"]["Columns"].as_array().unwrap();
        let rows = columns.iter().map(|column| {
            let [name, kind, comment] =
                ["Name", "Type", "Comment"].map(|member| column[member].as_str().unwrap());
            format!("| `{name}` | {kind} | {comment} |\n")
        });
        let rows: String = rows.collect();
        assert!(
            page.contains(&rows),
            "paste into docs/data.md, {}:\n{rows}",
            view["Name"]
        );
    }
}

/// The code's settings by these variables, and those without which it does not start, at noon on 24 November 2026.
fn config(lookup: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let lookup = |name: &str| {
        let given = lookup(name);
        let required = ["BUCKET", "QUEUE_URL", "AWS_REGION"].contains(&name);
        given.or_else(|| required.then(|| "value".to_owned()))
    };
    Config::parse(lookup, "2026-11-24T12:00:00Z".parse().unwrap())
}

/// The variables that the code asks for, besides those of Lambda and the SDK.
fn variables() -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    config(|name| {
        asked.borrow_mut().insert(name.to_owned());
        None
    })
    .unwrap();
    asked
        .into_inner()
        .into_iter()
        .filter(|name| !name.starts_with("AWS_"))
        .collect()
}

#[test]
fn the_template_sets_every_variable_that_the_code_asks_for() {
    let template = template();
    let set = &properties(&template, "Function")["Environment"]["Variables"];
    let set: BTreeSet<_> = set.as_object().unwrap().keys().cloned().collect();
    assert_eq!(set, variables());
    let page = page("docs/settings.md");
    for variable in variables() {
        assert!(
            page.contains(&format!("| `{variable}` |")),
            "docs/settings.md explains {variable}"
        );
    }
}

#[test]
fn the_templates_defaults_are_the_codes() {
    let template = template();
    let config = config(|_| None).unwrap();
    let default = |parameter: &str| template["Parameters"][parameter]["Default"].clone();
    assert_eq!(default("CallsPerSecond"), json!("2"));
    assert!((config.calls_per_second - 2.0).abs() < f64::EPSILON);
    assert_eq!(
        default("ConfirmAfterMinutes"),
        json!(config.confirm_after.num_minutes().to_string())
    );
    assert_eq!(default("Prefix"), json!(config.prefix));
    assert_eq!(default("SweepCallsPerSecond"), json!("4"));
    assert!((config.sweep_calls_per_second - 4.0).abs() < f64::EPSILON);
    assert_eq!(
        default("QueueAtMost"),
        json!(config.queue_at_most.to_string())
    );
    assert_eq!(
        (default("IgnoreEndedBefore"), config.ignore_ended_before),
        (json!(""), None)
    );
    assert_eq!(
        (default("RewriteBefore"), config.rewrite_before),
        (json!(""), None)
    );
    assert_eq!(
        (default("RetentionDays"), config.retention),
        (json!("0"), None)
    );
    assert_eq!(
        (default("Collect"), config.collect),
        (json!("everyone"), Scope::Everyone)
    );
    assert_eq!(
        (default("CollectDetails"), config.collect_details),
        (json!("true"), true)
    );
    assert_eq!(default("CollectCallsPerSecond"), json!("2"));
    assert!((config.collect_calls_per_second - 2.0).abs() < f64::EPSILON);
    assert_eq!(
        (default("RecollectBefore"), config.recollect_before),
        (json!(""), None)
    );
}

/// What the code makes of one variable, the others being as they must.
fn set(variable: &str, value: &str) -> Result<Config, ConfigError> {
    config(|name| (name == variable).then(|| value.to_owned()))
}

/// Which of these values of parameters `make deploy` would pass on, by the template's rules, at noon on 24 November 2026.
fn taken(values: &[(&str, String)]) -> Vec<bool> {
    let script = "import datetime, json, sys; sys.path.insert(0, 'tools'); import deploy; \
                  rules = deploy.yaml_parse(deploy.TEMPLATE.read_text())['Parameters']; \
                  now = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.timezone.utc); \
                  print(json.dumps([not deploy.broken_rule(name, value, rules[name], now) for name, value in json.load(sys.stdin)]))";
    let mut python = Command::new(".venv/bin/python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(python.stdin.take().unwrap(), values).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The parameters that become variables, with values that the template takes, and values that it must refuse.
const EDGES: [(&str, &str, &[&str], &[&str]); 12] = [
    (
        "Prefix",
        "PREFIX",
        &["", "a/", "video/eu=1/"],
        &["/", "a", "/a/", "a//", "a*/", " "],
    ),
    (
        "CallsPerSecond",
        "CALLS_PER_SECOND",
        &["0.1", "0.25", "1", "4.99", "5", "5.0"],
        &["0", "0.09", "5.01", "6", "1e0", "NaN", "-1", "2.", " 2", ""],
    ),
    (
        "SweepCallsPerSecond",
        "SWEEP_CALLS_PER_SECOND",
        &["0.1", "0.25", "1", "4.99", "5", "5.0"],
        &["0", "0.09", "5.01", "6", "1e0", "NaN", "-1", "2.", " 2", ""],
    ),
    (
        "ConfirmAfterMinutes",
        "CONFIRM_AFTER_MINUTES",
        &["1", "9", "60", "999", "1399", "1440"],
        &["0", "1.5", "60.0", "1441", "-1", "1e2", "060", ""],
    ),
    (
        "QueueAtMost",
        "QUEUE_AT_MOST",
        &["1", "300", "99999", "100000"],
        &["0", "1.5", "300.0", "100001", "-1", "1e2", ""],
    ),
    (
        "IgnoreEndedBefore",
        "IGNORE_ENDED_BEFORE",
        &[
            "",
            "2026-11-23T00:00:00Z",
            "2024-02-29T23:59:59+23:59",
            "2000-02-29T00:00:00-00:00",
            "2099-12-31T12:00:00-11:30",
        ],
        &[
            "2026-13-45T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T00:60:00Z",
            "2026-11-23T00:00:61Z",
            "2026-11-23T00:00:00+24:00",
            "2026-11-23T00:00:00+01:60",
            "2026-11-23T00:00:00",
            "2026-11-23",
        ],
    ),
    (
        "RewriteBefore",
        "REWRITE_BEFORE",
        &[
            "",
            "2026-11-24T12:00:00Z",
            "2026-11-24T13:00:00+01:00",
            "2024-02-29T23:59:59Z",
        ],
        &[
            "2026-11-24T12:00:01Z",
            "2026-11-24T12:00:00-01:00",
            "2026-02-30T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23",
        ],
    ),
    (
        "Collect",
        "COLLECT",
        &["everyone", "publishers", "nobody"],
        &["", "Everyone", "none", "everyone "],
    ),
    (
        "CollectDetails",
        "COLLECT_DETAILS",
        &["true", "false"],
        &["", "True", "yes", "1"],
    ),
    (
        "CollectCallsPerSecond",
        "COLLECT_CALLS_PER_SECOND",
        &[
            "0.5", "0.75", "1", "1.99", "2", "2.0", "2.49", "2.5", "2.50",
        ],
        &["0", "0.49", "2.51", "3", "1e0", "NaN", "-1", "2.", " 2", ""],
    ),
    (
        "RecollectBefore",
        "RECOLLECT_BEFORE",
        &[
            "",
            "2026-11-24T12:00:00Z",
            "2026-11-24T13:00:00+01:00",
            "2024-02-29T23:59:59Z",
        ],
        &[
            "2026-11-24T12:00:01Z",
            "2026-11-24T12:00:00-01:00",
            "2026-02-30T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23",
        ],
    ),
    (
        "RetentionDays",
        "RETENTION_DAYS",
        &["0", "15", "19", "99", "100", "9999"],
        &["1", "14", "15.5", "10000", "-15", "015", ""],
    ),
];

#[test]
fn what_the_template_takes_for_a_parameter_the_function_starts_with() {
    let template = template();
    let variables = &properties(&template, "Function")["Environment"]["Variables"];
    for (variable, value) in variables.as_object().unwrap() {
        let parameter = &value["Ref"];
        if template["Parameters"][parameter.as_str().unwrap_or_default()].is_object() {
            let known = |edge: &&(&str, &str, &[&str], &[&str])| edge.0 == *parameter;
            let edge = EDGES.iter().find(known);
            assert_eq!(
                edge.map(|edge| edge.1),
                Some(&**variable),
                "the edges of {parameter}"
            );
        }
    }
    for (parameter, variable, good, bad) in EDGES {
        let values: Vec<_> = good
            .iter()
            .chain(bad)
            .map(|value| (parameter, (*value).to_owned()))
            .collect();
        for ((_, value), taken) in values.iter().zip(taken(&values)) {
            assert_eq!(taken, good.contains(&&**value), "{parameter}={value:?}");
            if taken {
                set(variable, value).unwrap();
            }
        }
    }
}

#[test]
fn the_template_takes_the_days_of_retention_that_the_code_takes() {
    let days: Vec<_> = (0..10_100).map(|days: i32| days.to_string()).collect();
    let values: Vec<_> = days
        .iter()
        .map(|it| ("RetentionDays", it.clone()))
        .collect();
    for (days, taken) in days.iter().zip(taken(&values)) {
        assert_eq!(taken, set("RETENTION_DAYS", days).is_ok(), "{days} days");
    }
}

#[test]
fn the_template_takes_the_days_that_there_are_and_no_other() {
    let years = 1999..2101;
    let days = years.flat_map(|year| (0..14).map(move |month| (year, month)));
    let days = days.flat_map(|(year, month)| (0..33).map(move |day| (year, month, day)));
    let days: Vec<_> = days.collect();
    let values: Vec<_> = days
        .iter()
        .map(|(year, month, day)| {
            (
                "IgnoreEndedBefore",
                format!("{year}-{month:02}-{day:02}T00:00:00Z"),
            )
        })
        .collect();
    for ((year, month, day), taken) in days.iter().zip(taken(&values)) {
        let is_day = chrono::NaiveDate::from_ymd_opt(*year, *month, *day).is_some();
        let of_century = (2000..2100).contains(year);
        assert_eq!(taken, is_day && of_century, "{year}-{month}-{day}");
    }

    let first_days = [
        ("2023-01-01", true),
        ("2024-02-29", true),
        ("2026-11-24", true),
        ("2026-11-25", false),
        ("2026-02-30", false),
        ("2025-02-29", false),
        ("2026-11-1", false),
        ("", false),
    ];
    let values = first_days.map(|(day, _)| ("FirstDay", day.to_owned()));
    let expected = first_days.map(|(_, taken)| taken);
    assert_eq!(taken(&values), expected, "{values:?}");
}

#[test]
fn whole_numbers_that_the_function_never_sees_are_whole_too() {
    let wholes = [
        (
            "QueryBytesAtMost",
            &["10000000", "100000000000"][..],
            &["9999999", "10000000.5", "1e9"][..],
        ),
        ("QueryResultDays", &["1", "3650"], &["0", "1.5", "3651"]),
        (
            "NoncurrentVersionDays",
            &["1", "3599", "3650"],
            &["0", "1.5", "3651", "4000"],
        ),
        (
            "HintDelaySeconds",
            &["0", "9", "10", "899", "900"],
            &["1.5", "901", "-1", "00"],
        ),
        (
            "AttendanceDelaySeconds",
            &["6000", "86400"],
            &["5999", "86400.5"],
        ),
        (
            "ExportDelaySeconds",
            &["600", "999", "1000"],
            &["599", "600.5"],
        ),
    ];
    for (parameter, good, bad) in wholes {
        let values: Vec<_> = good
            .iter()
            .chain(bad)
            .map(|it| (parameter, (*it).to_owned()))
            .collect();
        for ((_, value), taken) in values.iter().zip(taken(&values)) {
            assert_eq!(taken, good.contains(&&**value), "{parameter}={value:?}");
        }
    }
    for (name, parameter) in template()["Parameters"].as_object().unwrap() {
        let choice = parameter["AllowedValues"].is_array();
        assert!(
            parameter["Type"] == "String" || choice,
            "a number that may be 1.5: {name}"
        );
    }
}

#[test]
fn no_schedule_comes_more_often_than_its_messages_can_be_told_apart() {
    let good = [
        "rate(10 minutes)",
        "rate(15 minutes)",
        "rate(90 minutes)",
        "rate(1 hour)",
        "rate(2 hours)",
        "rate(1 day)",
        "cron(0 * * * ? *)",
        "cron(0/15 * * * ? *)",
        "cron(*/10 8-18 ? * MON-FRI *)",
        "cron(0,20,40 * * * ? *)",
    ];
    let bad = [
        "rate(1 minute)",
        "rate(5 minutes)",
        "rate(9 minutes)",
        "rate(1 minutes)",
        "rate(15 minute)",
        "rate(1 hours)",
        "rate(0 hours)",
        "cron(* * * * ? *)",
        "cron(0/5 * * * ? *)",
        "cron(*/9 * * * ? *)",
        "cron(0-59 * * * ? *)",
        "cron(0 * * * ?)",
        "15 minutes",
        "",
    ];
    let values: Vec<_> = good
        .iter()
        .chain(&bad)
        .map(|it| ("SweepSchedule", (*it).to_owned()))
        .collect();
    for ((_, value), taken) in values.iter().zip(taken(&values)) {
        assert_eq!(taken, good.contains(&&**value), "{value:?}");
    }
}

#[test]
fn a_database_of_another_name_replaces_the_former_one() {
    let template = template();
    let database = properties(&template, "Database");
    assert_eq!(database["DatabaseName"], json!({ "Ref": "DatabaseName" }));
    assert_eq!(database["DatabaseInput"]["Name"], database["DatabaseName"]);
}

#[test]
fn the_rule_asks_for_hints_and_for_nothing_that_the_code_refuses() {
    let template = template();
    let pattern = &properties(&template, "HintRule")["EventPattern"];
    for (name, wanted) in [
        ("participant-unpublished", true),
        ("participant-unpublished-live", true),
        ("recording-end", true),
        ("composition-session-end", false),
        ("stream-session-ended", false),
    ] {
        let event: Value =
            serde_json::from_str(&std::fs::read_to_string(format!("events/{name}.json")).unwrap())
                .unwrap();
        assert_eq!(matches(pattern, &event), wanted, "{name}");
        let accepted = event::parse(event, ARRIVAL);
        assert_eq!(
            matches!(accepted, Ok(Payload::One(Work::Session(_)))),
            wanted,
            "{name}"
        );
    }
}

const ARRIVAL: Arrival<'static> = Arrival {
    region: "us-west-2",
    collect_queue: "collect.fifo",
    now: chrono::DateTime::UNIX_EPOCH,
};

/// EventBridge's matching of exact values, which is all that the rule uses.
fn matches(pattern: &Value, event: &Value) -> bool {
    match pattern {
        Value::Object(members) => members
            .iter()
            .all(|(name, pattern)| matches(pattern, &event[name])),
        Value::Array(values) => values.contains(event),
        other => panic!("{other} is no pattern of exact values"),
    }
}

#[test]
fn the_queues_numbers_fit_the_functions() {
    let template = template();
    let function = properties(&template, "Function");
    let queue = properties(&template, "WorkQueue");
    let mapping = &function["Events"]["Work"]["Properties"];
    let number = |value: &Value| value.as_u64().unwrap();

    assert_eq!(number(&function["Timeout"]), 900);
    let window = number(&mapping["MaximumBatchingWindowInSeconds"]);
    assert!(number(&queue["VisibilityTimeout"]) > number(&function["Timeout"]) + window);
    let receives = number(&queue["RedrivePolicy"]["maxReceiveCount"]);
    assert_eq!((receives, MOST_RECEIVES), (5, 5));
    for resource in [
        "WorkQueue",
        "WorkDeadLetterQueue",
        "CollectQueue",
        "CollectDeadLetterQueue",
        "RuleDeadLetterQueue",
    ] {
        assert_eq!(
            number(&properties(&template, resource)["MessageRetentionPeriod"]),
            14 * 24 * 3600
        );
    }
    assert_eq!((number(&mapping["BatchSize"]), window), (200, 60));
    // Without it a batch with one failure would count as done, and the session would be lost.
    assert_eq!(
        mapping["FunctionResponseTypes"],
        json!(["ReportBatchItemFailures"])
    );
    // Together below the account's 5 calls a second.
    let concurrency = number(&mapping["ScalingConfig"]["MaximumConcurrency"]);
    assert_eq!(
        (
            concurrency,
            &template["Parameters"]["CallsPerSecond"]["Default"]
        ),
        (2, &json!("2"))
    );
    assert!(
        function.get("ReservedConcurrentExecutions").is_none(),
        "it fails in new accounts"
    );
    assert_eq!(template["Parameters"]["HintDelaySeconds"]["Default"], "300");
}

#[test]
fn collections_come_one_by_one_and_two_at_a_time() {
    let template = template();
    let (queue, dead) = (
        properties(&template, "CollectQueue"),
        properties(&template, "CollectDeadLetterQueue"),
    );
    let number = |value: &Value| value.as_u64().unwrap();
    assert_eq!(
        (&queue["FifoQueue"], &dead["FifoQueue"]),
        (&json!(true), &json!(true))
    );
    // By their content two messages that continue a collection would be one.
    assert!(queue.get("ContentBasedDeduplication").is_none());
    let name = queue["QueueName"]["Fn::Sub"].as_str().unwrap();
    let source = dead["RedriveAllowPolicy"]["sourceQueueArns"][0]["Fn::Sub"].as_str();
    assert!(source.unwrap().ends_with(&format!(":{name}")));
    assert!(name.strip_suffix(".fifo").is_some(), "{name}");
    let function = properties(&template, "Function");
    assert!(number(&queue["VisibilityTimeout"]) > number(&function["Timeout"]));
    let receives = number(&queue["RedrivePolicy"]["maxReceiveCount"]);
    assert_eq!((receives, MOST_RECEIVES), (5, 5));

    let mapping = &function["Events"]["Collections"]["Properties"];
    assert_eq!(mapping["BatchSize"], 1);
    assert_eq!(
        mapping["FunctionResponseTypes"],
        json!(["ReportBatchItemFailures"])
    );
    // Together within the account's 5 calls a second, at the most that the parameter takes.
    assert_eq!(number(&mapping["ScalingConfig"]["MaximumConcurrency"]), 2);
    let most = ["2.5", "2.51"].map(|most| ("CollectCallsPerSecond", most.to_owned()));
    assert_eq!(taken(&most), [true, false]);
}

/// What each operation that the code calls needs. A HEAD is allowed by GetObject, and answers 404 instead of 403 only
/// with ListBucket; a PUT with If-Match needs GetObject.
const ACTIONS: [(&str, &[&str]); 12] = [
    ("get_participant", &["ivs:GetParticipant"]),
    ("list_participant_events", &["ivs:ListParticipantEvents"]),
    ("list_stages", &["ivs:ListStages"]),
    ("list_stage_sessions", &["ivs:ListStageSessions"]),
    ("list_objects_v2", &["s3:ListBucket"]),
    ("get_queue_attributes", &["sqs:GetQueueAttributes"]),
    ("send_message_batch", &["sqs:SendMessage"]),
    ("get_stage_session", &["ivs:GetStageSession"]),
    ("list_participants", &["ivs:ListParticipants"]),
    ("head_object", &["s3:GetObject", "s3:ListBucket"]),
    ("get_object", &["s3:GetObject"]),
    ("put_object", &["s3:PutObject", "s3:GetObject"]),
];

/// What Lambda itself does in the function's name: the source mapping, and the log.
const LAMBDAS_OWN: [&str; 5] = [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
];

/// What an action needs besides where its object or its queue is under a key of KMS.
const UNDER_A_KEY: [(&str, &[&str]); 4] = [
    ("s3:GetObject", &["kms:Decrypt"]),
    ("s3:PutObject", &["kms:GenerateDataKey"]),
    ("sqs:ReceiveMessage", &["kms:Decrypt"]),
    ("sqs:SendMessage", &["kms:GenerateDataKey", "kms:Decrypt"]),
];

#[test]
fn the_policy_allows_what_the_code_calls_and_no_more() {
    let mut called = BTreeSet::new();
    for name in modules() {
        let code: String = module(&name).split_whitespace().collect();
        let code = code.replace("self.beside.", "self.client.");
        for call in code.split("self.client.").skip(1) {
            // A fluent builder: `self.client.get_object()`.
            let name = call.split("()").next().unwrap();
            if name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            {
                called.insert(name.to_owned());
            }
        }
    }
    let known: BTreeSet<_> = ACTIONS
        .iter()
        .map(|(operation, _)| (*operation).to_owned())
        .collect();
    assert_eq!(
        called, known,
        "the operations that the code calls, and those whose actions are known here"
    );

    let mut needed: BTreeSet<_> = ACTIONS
        .iter()
        .flat_map(|(_, actions)| *actions)
        .chain(&LAMBDAS_OWN)
        .copied()
        .collect();
    let under_a_key = UNDER_A_KEY
        .iter()
        .filter(|(action, _)| needed.contains(action))
        .flat_map(|(_, more)| *more);
    needed.append(&mut under_a_key.copied().collect());
    let template = template();
    let policy = &properties(&template, "FunctionRole")["Policies"][0]["PolicyDocument"];
    let statements = policy["Statement"].as_array().unwrap();
    let of_the_former_key = |statement: &&Value| statement["Fn::If"][0] == "WasUnderKey";
    let allowed: Vec<_> = statements
        .iter()
        // It allows again, on another key, a part of what the one for the key allows.
        .filter(|statement| !of_the_former_key(statement))
        .map(always)
        .flat_map(|statement| texts(&statement["Action"]))
        .collect();
    assert_eq!(
        allowed.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        needed
    );
    // So that there is no statement, and no action of one, that could go.
    assert_eq!(allowed.len(), needed.len(), "{allowed:?}");

    let at_the_key =
        |statement: &&Value| texts(&always(statement)["Action"])[0].starts_with("kms:");
    let at_the_key: Vec<_> = statements.iter().filter(at_the_key).collect();
    let through = ["s3", "sqs"]
        .map(|service| json!({ "Fn::Sub": format!("{service}.${{AWS::Region}}.amazonaws.com") }));
    let keys = [
        ("UnderKey", "KmsKeyArn"),
        ("WasUnderKey", "FormerKmsKeyArn"),
    ];
    assert_eq!(at_the_key.len(), keys.len());
    for (conditional, (condition, key)) in at_the_key.into_iter().zip(keys) {
        assert_eq!(conditional["Fn::If"][0], condition);
        assert_eq!(conditional["Fn::If"][2], json!({ "Ref": "AWS::NoValue" }));
        let statement = always(conditional);
        assert_eq!(statement["Resource"], json!({ "Ref": key }));
        assert_eq!(
            statement["Condition"],
            json!({ "StringEquals": { "kms:ViaService": through } })
        );
    }
    let former = statements.iter().find(of_the_former_key).unwrap();
    assert_eq!(always(former)["Action"], "kms:Decrypt");
}

/// What stands in the template, or, if that depends on a condition, what it is where the condition holds.
fn always(conditional: &Value) -> &Value {
    conditional
        .get("Fn::If")
        .map_or(conditional, |parts| &parts[1])
}

/// One text or many.
fn texts(value: &Value) -> Vec<String> {
    let one = |text: &Value| text.as_str().unwrap().to_owned();
    value
        .as_array()
        .map_or_else(|| vec![one(value)], |many| many.iter().map(one).collect())
}

/// The statements that allow something on what a wildcard names, and why each has to.
const WILDCARDS: [(&str, &str); 5] = [
    (
        "StagesRead",
        "stages come and go, and a sweep lists them all",
    ),
    (
        "ObjectsReadWrite",
        "the keys below the lake's prefixes are those of sessions and days",
    ),
    ("FilesRead", "history is made of every session's files"),
    (
        "HistoryKept",
        "Athena chooses the names of an Iceberg table's files",
    ),
    ("ResultsWritten", "Athena chooses the names of its results"),
];

#[test]
fn nothing_is_allowed_to_everybody_or_on_everything() {
    let template = template();
    let mut wild = BTreeSet::new();
    let resources = template["Resources"].as_object().unwrap();
    for (name, resource) in resources {
        let properties = &resource["Properties"];
        let own = properties.get("PolicyDocument");
        let inline = properties["Policies"].as_array().into_iter().flatten();
        let documents = own
            .into_iter()
            .chain(inline.map(|policy| &policy["PolicyDocument"]))
            .chain(properties.get("AssumeRolePolicyDocument"));
        for statement in documents
            .flat_map(|document| document["Statement"].as_array().unwrap())
            .map(always)
            .filter(|statement| statement["Effect"] == "Allow")
        {
            assert_ne!(statement["Principal"], "*", "{name}");
            assert!(statement.get("NotAction").is_none(), "{name}");
            assert!(statement.get("NotResource").is_none(), "{name}");
            for action in texts(&statement["Action"]) {
                assert!(!action.contains('*'), "{action} of {name}");
            }
            if statement["Resource"].to_string().contains('*') {
                assert_ne!(statement["Resource"], "*", "{name}");
                wild.insert(statement["Sid"].as_str().unwrap().to_owned());
            }
        }
        assert!(
            properties.get("ManagedPolicyArns").is_none(),
            "{name} has only what stands here"
        );
    }
    assert_eq!(wild, WILDCARDS.map(|(sid, _)| sid.to_owned()).into());
}

#[test]
fn whatever_may_hold_user_ids_is_under_the_key_if_one_is_given() {
    let template = template();
    let given = |then: Value, otherwise: Value| json!({ "Fn::If": ["UnderKey", then, otherwise] });
    let none = || json!({ "Ref": "AWS::NoValue" });
    let key = || json!({ "Ref": "KmsKeyArn" });
    let mut covered = BTreeMap::new();
    for resource in template["Resources"].as_object().unwrap().values() {
        let (kind, properties) = (resource["Type"].as_str().unwrap(), &resource["Properties"]);
        match kind {
            "AWS::SQS::Queue" => {
                assert_eq!(properties["KmsMasterKeyId"], given(key(), none()));
                // One kind of encryption at a time.
                assert_eq!(
                    properties["SqsManagedSseEnabled"],
                    given(none(), json!(true))
                );
            }
            // It holds none, and says so when the key is what is wrong.
            "AWS::SNS::Topic" => assert!(properties.get("KmsMasterKeyId").is_none()),
            "AWS::Logs::LogGroup" => assert_eq!(properties["KmsKeyId"], given(key(), none())),
            "AWS::S3::Bucket" => {
                let rules = &properties["BucketEncryption"]["ServerSideEncryptionConfiguration"];
                assert_eq!(
                    rules[0]["ServerSideEncryptionByDefault"],
                    given(
                        json!({ "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key() }),
                        json!({ "SSEAlgorithm": "AES256" }),
                    )
                );
                assert_eq!(rules[0]["BucketKeyEnabled"], given(json!(true), none()));
            }
            "AWS::Athena::WorkGroup" => {
                let results = &properties["WorkGroupConfiguration"]["ResultConfiguration"];
                assert_eq!(
                    results["EncryptionConfiguration"],
                    given(
                        json!({ "EncryptionOption": "SSE_KMS", "KmsKey": key() }),
                        json!({ "EncryptionOption": "SSE_S3" }),
                    )
                );
            }
            _ => continue,
        }
        *covered.entry(kind).or_insert(0) += 1;
    }
    assert_eq!(covered.len(), 5, "{covered:?}");

    let policy: Value =
        serde_json::from_str(&std::fs::read_to_string("docs/key-policy.json").unwrap()).unwrap();
    let page = page("docs/encryption.md");
    for statement in policy["Statement"].as_array().unwrap() {
        let sid = statement["Sid"].as_str().unwrap();
        assert!(page.contains(&format!("| `{sid}` |")), "{sid}");
        let service = &statement["Principal"]["Service"];
        assert_eq!(
            service.is_string(),
            statement["Condition"].is_object(),
            "{sid}"
        );
    }
}

/// What a script prints.
fn printed(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_command_for_a_new_key_fills_in_the_policy() {
    let page = page("docs/encryption.md");
    let (_, command) = page.split_once("\naws kms create-key ").unwrap();
    let (command, _) = command.split_once("\n```").unwrap();
    // The policy is the last argument.
    let filled = printed(&format!(
        "aws() {{ printf %s \"${{@: -1}}\"; }}; aws kms create-key {command}"
    ));
    for placeholder in ["ACCOUNT", "REGION", "STACK"] {
        assert!(!filled.contains(placeholder), "{placeholder}");
    }
    let policy: Value = serde_json::from_str(&filled).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let statement = |sid: &str| statements.iter().find(|statement| statement["Sid"] == sid);
    assert_eq!(
        statement("LogGroup").unwrap()["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"],
        "arn:aws:logs:us-west-2:123456789012:log-group:ivs-attendance-*"
    );
}

#[test]
fn the_role_and_the_tables_mean_the_keys_that_the_code_writes() {
    let template = template();
    let policy = &properties(&template, "FunctionRole")["Policies"][0]["PolicyDocument"];
    let statements = policy["Statement"].as_array().unwrap();
    let objects = statements
        .iter()
        .find(|statement| statement["Sid"] == "ObjectsReadWrite")
        .unwrap();
    let resources = objects["Resource"].as_array().unwrap().iter();
    let arns: Vec<_> = resources
        .map(|resource| resource["Fn::Sub"][0].as_str().unwrap())
        .collect();
    let bucket = "arn:${AWS::Partition}:s3:::${LakeBucket}/${Prefix}";
    let names = tables().map(|table| table.name);
    let folders = names.into_iter().chain(["parts", "failed"]);
    let expected: Vec<_> = folders
        .map(|folder| format!("{bucket}{folder}/*"))
        .collect();
    assert_eq!(arns, expected);

    for CodesTable { name, resource, .. } in tables() {
        let table = &properties(&template, resource)["TableInput"];
        let parameters = &table["Parameters"];
        let folder = format!("s3://${{LakeBucket}}/${{Prefix}}{name}/");
        assert_eq!(
            parameters["storage.location.template"]["Fn::Sub"][0],
            format!("{folder}dt=${{!dt}}/")
        );
        assert_eq!(table["StorageDescriptor"]["Location"]["Fn::Sub"][0], folder);
        assert_eq!(parameters["projection.dt.format"], "yyyy-MM-dd");
        assert_eq!(parameters["projection.enabled"], "true");
    }
}

#[test]
fn what_s3_expires_is_what_sweeps_leave_out() {
    let template = template();
    let rules = &properties(&template, "Bucket")["LifecycleConfiguration"]["Rules"];
    let rules = rules.as_array().unwrap();
    // What sweeps know of sessions is of no person, and stays.
    for (id, folder) in [
        ("ExpireParticipants", "participants"),
        ("ExpireParticipantEvents", "participant_events"),
        ("ExpireAttendance", "attendance"),
    ] {
        let expiry = json!({
            "Id": id,
            "Status": "Enabled",
            "Prefix": { "Fn::Sub": format!("${{Prefix}}{folder}/") },
            "ExpirationInDays": { "Ref": "RetentionDays" },
        });
        let rule = json!({ "Fn::If": ["Expires", expiry, { "Ref": "AWS::NoValue" }] });
        assert!(rules.contains(&rule), "{id}");
    }
    let by_retention = rules.iter().filter(|rule| rule["Fn::If"][0] == "Expires");
    assert_eq!(by_retention.count(), 3);
    let parts = rules.iter().find(|rule| rule["Id"] == "ExpireParts");
    let parts = parts.unwrap();
    assert_eq!(parts["Prefix"], json!({ "Fn::Sub": "${Prefix}parts/" }));
    assert_eq!(
        (&parts["ExpirationInDays"], &parts["Status"]),
        (&json!(7), &json!("Enabled"))
    );
    let set = &properties(&template, "Function")["Environment"]["Variables"];
    assert_eq!(set["RETENTION_DAYS"], json!({ "Ref": "RetentionDays" }));
}

#[test]
fn results_of_queries_lie_outside_the_tables_and_expire_wherever_a_client_wants_them() {
    let template = template();
    let group = &properties(&template, "WorkGroup")["WorkGroupConfiguration"];
    assert_eq!(group["EnforceWorkGroupConfiguration"], true);
    let results = &group["ResultConfiguration"]["OutputLocation"]["Fn::Sub"][0];
    let results = results.as_str().unwrap();
    for CodesTable { resource, .. } in tables() {
        let table = &properties(&template, resource)["TableInput"];
        let rows = &table["StorageDescriptor"]["Location"]["Fn::Sub"][0];
        let rows = rows.as_str().unwrap();
        assert!(!results.starts_with(rows) && !rows.starts_with(results));
    }

    let prefix = results.strip_prefix("s3://${LakeBucket}/").unwrap();
    let rules = &properties(&template, "Bucket")["LifecycleConfiguration"]["Rules"];
    let expiry = rules
        .as_array()
        .unwrap()
        .iter()
        .find(|rule| rule["Prefix"] == json!({ "Fn::Sub": prefix }));
    let expiry = expiry.unwrap();
    assert_eq!(
        (&expiry["ExpirationInDays"], &expiry["Status"]),
        (&json!({ "Ref": "QueryResultDays" }), &json!("Enabled"))
    );
}

#[test]
fn the_schedule_asks_for_a_sweep_one_at_a_time() {
    let template = template();
    let target = &properties(&template, "SweepRule")["Targets"][0];
    let sweep: Value = serde_json::from_str(target["Input"].as_str().unwrap()).unwrap();
    let work = event::parse(sweep, ARRIVAL);
    assert!(matches!(work, Ok(Payload::One(Work::Sweep(sweep))) if sweep == Sweep::default()));

    let queue = properties(&template, "SweepQueue");
    assert_eq!(
        (&queue["FifoQueue"], &queue["ContentBasedDeduplication"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(target["SqsParameters"]["MessageGroupId"], "sweep");
    assert!(queue.get("DelaySeconds").is_none(), "a tick sweeps at once");
    let function = properties(&template, "Function");
    assert!(queue["VisibilityTimeout"].as_u64() > function["Timeout"].as_u64());
    assert_eq!(queue["MessageRetentionPeriod"], 3600);
    assert_eq!(function["Events"]["Sweeps"]["Properties"]["BatchSize"], 1);
    assert_eq!(
        function["RecursiveLoop"], "Allow",
        "a batch sends again what it did not begin"
    );
}

#[test]
fn what_the_operators_commands_send_is_what_the_code_takes() {
    let work = |name: &str| {
        let file = std::fs::read_to_string(format!("events/{name}.json")).unwrap();
        let payload = serde_json::from_str(&file).unwrap();
        match event::parse(payload, ARRIVAL) {
            Ok(Payload::One(work)) => work,
            other => panic!("events/{name}.json is {other:?}"),
        }
    };
    assert!(matches!(work("sweep"), Work::Sweep(sweep) if sweep == Sweep::default()));
    let dry_run = Sweep {
        dry_run: true,
        ..Sweep::default()
    };
    assert!(matches!(work("sweep-dry-run"), Work::Sweep(sweep) if sweep == dry_run));
    assert!(matches!(work("collect"), Work::Collect(request) if request.rewrite_before.is_none()));
    assert!(
        matches!(work("request"), Work::Session(request) if request.rewrite_before.is_none() && request.hinted_at.is_none())
    );
}

#[test]
fn the_operators_commands_find_what_they_look_for_in_the_template() {
    let template = template();
    let script = std::fs::read_to_string("tools/operate.py").unwrap();
    for (call, section) in [
        (".output(\"", "Outputs"),
        (".watch(\"", "Outputs"),
        (".parameter(\"", "Parameters"),
        (".parameters.get(\"", "Parameters"),
    ] {
        let names: Vec<_> = script
            .split(call)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert!(!names.is_empty(), "{call}");
        for name in names {
            assert!(
                template[section][name].is_object(),
                "{name} among the template's {section}"
            );
        }
    }
    let mapping = &properties(&template, "Function")["Events"]["Work"]["Properties"];
    let concurrency = &mapping["ScalingConfig"]["MaximumConcurrency"];
    assert!(script.contains(&format!("\nINVOCATIONS = {concurrency}\n")));
    let (_, most) = script.split_once("\nMOST_QUEUED = ").unwrap();
    let most: i64 = most.lines().next().unwrap().parse().unwrap();
    let values = [most, most + 1].map(|most| ("QueueAtMost", most.to_string()));
    assert_eq!(taken(&values), [true, false]);
}

#[test]
fn each_module_speaks_its_own_vocabulary() {
    let speakers: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("aws_sdk_ivsrealtime", &["ivs.rs", "ivs/rows.rs"][..]),
        ("aws_sdk_s3", &["lake.rs"]),
        ("aws_sdk_sqs", &["queue.rs"]),
        ("arrow::", &["table.rs"]),
        ("parquet::", &["table.rs"]),
        ("aws_lambda_events", &["event.rs"]),
        ("lambda_runtime", &["main.rs", "error.rs"]),
        ("aws_config", &["aws.rs", "ivs.rs", "lake.rs", "queue.rs"]),
        ("aws_runtime", &["throttles.rs"]),
        ("aws_smithy_http_client", &["aws.rs"]),
        (
            "aws_smithy_runtime_api",
            &[
                "ivs.rs",
                "ivs/rate_limiter.rs",
                "ivs/retry_budget.rs",
                "throttles.rs",
                "lake.rs",
                "queue.rs",
            ],
        ),
        ("tracing_subscriber", &["main.rs"]),
    ]);
    for (word, allowed) in speakers {
        let spoken = |name: &String| {
            let code = module(name);
            code.lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| line.contains(word))
        };
        let speaking: BTreeSet<_> = modules().into_iter().filter(spoken).collect();
        let allowed: BTreeSet<_> = allowed.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(speaking, allowed, "the modules that say {word}");
    }
}

#[test]
fn there_is_one_tls_stack_and_none_of_openssl() {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap();
    let count = |name: &str| lock.matches(&format!("name = \"{name}\"\n")).count();
    for name in ["rustls", "hyper", "hyper-rustls", "h2"] {
        assert_eq!(count(name), 1, "versions of {name} in Cargo.lock");
    }
    for name in ["openssl", "openssl-sys", "native-tls"] {
        assert_eq!(count(name), 0, "{name} in Cargo.lock");
    }
}

/// The names by which failures go: those of `Error`, and those that `main.rs` logs itself.
fn error_types() -> BTreeSet<String> {
    let quoted = |module: &str, before: &str| -> BTreeSet<String> {
        module
            .split(before)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    let errors = module("error.rs");
    let (_, named) = errors.split_once("fn error_type(").unwrap();
    let (named, _) = named.split_once("\n    }\n").unwrap();
    let named = quoted(named, "=> \"");
    let variants = errors.matches("#[error(").count();
    assert_eq!(named.len(), variants, "{named:?}");
    &named | &quoted(&module("main.rs"), "error_type = \"")
}

/// The alarms by the end of their names, which is the title of their section.
fn alarms(template: &Value) -> BTreeMap<String, &Value> {
    let resources = template["Resources"].as_object().unwrap().values();
    let alarms = resources.filter(|resource| resource["Type"] == "AWS::CloudWatch::Alarm");
    let named = alarms.map(|alarm| {
        let name = alarm["Properties"]["AlarmName"]["Fn::Sub"]
            .as_str()
            .unwrap();
        let name = name.strip_prefix("${AWS::StackName}-").unwrap();
        (name.to_owned(), &alarm["Properties"])
    });
    named.collect()
}

/// The sections of the third level of the runbook, under their titles.
fn runbook() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("docs/runbook.md").unwrap();
    let sections = text.split("\n### ").skip(1).map(|section| {
        let (title, section) = section.split_once('\n').unwrap();
        let section = section.split("\n## ").next().unwrap();
        (title.to_owned(), section.to_owned())
    });
    sections.collect()
}

#[test]
fn the_runbook_has_a_section_for_each_alarm_and_error_type_and_no_other() {
    let template = template();
    let alarms = alarms(&template).into_keys().collect();
    let sections = runbook();
    let titles: BTreeSet<_> = sections.keys().cloned().collect();
    assert_eq!(titles, &error_types() | &alarms);
    for (title, section) in &sections {
        let parts = ["**Means.** ", "**Look.** ", "**Do.** "].map(|part| section.find(part.trim()));
        assert!(parts.iter().all(Option::is_some), "the parts of {title}");
        assert!(parts.is_sorted(), "the order of the parts of {title}");
        let look = &section[parts[1].unwrap()..parts[2].unwrap()];
        assert!(look.contains("```"), "{title} has a command or a query");
    }
}

#[test]
fn the_line_of_each_error_type_is_tried_against_the_metric_filters() {
    let tests = std::fs::read_to_string("tests/operation.rs").unwrap();
    for error_type in error_types() {
        assert!(tests.contains(&format!("\"{error_type}\"")), "{error_type}");
    }
}

#[test]
fn each_alarm_says_what_is_wrong_and_names_its_section() {
    for (name, alarm) in alarms(&template()) {
        let said = alarm["AlarmDescription"].as_str().unwrap();
        let (said, section) = said.split_once(" See docs/runbook.md#").unwrap();
        assert_eq!(section, format!("{name}."));
        assert!(said.len() > 50, "{name} says what is wrong: {said}");
        let sent = json!({ "Fn::If": ["HasAlarmEmail", [{ "Ref": "AlarmTopic" }], { "Ref": "AWS::NoValue" }] });
        assert_eq!(alarm["AlarmActions"], sent, "{name}");
        // Of no data at all only these two make something, and the first not where sweeps are switched off.
        let wanted = match name.as_str() {
            "no-sweep" => json!({ "Fn::If": ["SweepsByItself", "breaching", "notBreaching"] }),
            "history-late" => json!("breaching"),
            _ => json!("notBreaching"),
        };
        assert_eq!(alarm["TreatMissingData"], wanted, "{name}");
    }
}

#[test]
fn the_runbooks_links_and_commands_are_sound() {
    let text = std::fs::read_to_string("docs/runbook.md").unwrap();
    let sections = runbook();
    for link in text.split("](#").skip(1) {
        let link = link.split(')').next().unwrap();
        assert!(sections.contains_key(link), "the section {link}");
    }
    let template = template();
    for (call, end) in [("$(output ", ")"), ("depth ", "\n")] {
        for name in text.split(call).skip(1) {
            let name = name.split(end).next().unwrap();
            let known = template["Outputs"][name].is_object();
            assert!(known || name.contains("$1"), "{name} among the outputs");
        }
    }
    let scripts = text
        .split("```sh\n")
        .skip(1)
        .map(|script| script.split("```").next().unwrap());
    let output = Command::new("bash")
        .args(["-n", "-c", &scripts.collect::<String>()])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn the_dashboard_and_the_alarms_show_metrics_that_exist() {
    let template = template();
    let resources = template["Resources"].as_object().unwrap();
    let mut metrics = BTreeSet::new();
    for (name, resource) in resources {
        if resource["Type"] == "AWS::Logs::MetricFilter" {
            let metric = &resource["Properties"]["MetricTransformations"][0];
            assert_eq!(
                metric["MetricNamespace"],
                json!({ "Ref": "AWS::StackName" })
            );
            let new = metrics.insert(metric["MetricName"].as_str().unwrap().to_owned());
            assert!(new, "{name} has a metric of its own");
        }
    }

    let body = &properties(&template, "Dashboard")["DashboardBody"]["Fn::Sub"];
    let history = &body[1]["HistoryAlarms"]["Fn::If"];
    assert_eq!(
        (&history[0], &history[2]),
        (&json!("WithHistory"), &json!(""))
    );
    let body = body[0]
        .as_str()
        .unwrap()
        .replace("${HistoryAlarms}", history[1]["Fn::Sub"].as_str().unwrap())
        .replace("${ExportDelaySeconds}", "3600")
        .replace("${AttendanceDelaySeconds}", "86400");
    let body: Value = serde_json::from_str(&body).unwrap();
    let (mut shown, mut types, mut listed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for widget in body["widgets"].as_array().unwrap() {
        let properties = &widget["properties"];
        for metric in properties["metrics"].as_array().into_iter().flatten() {
            if metric[0] == "${AWS::StackName}" {
                shown.insert(metric[1].as_str().unwrap().to_owned());
                if metric[2] == "error_type" {
                    types.insert(metric[3].as_str().unwrap().to_owned());
                }
            }
        }
        for alarm in properties["alarms"].as_array().into_iter().flatten() {
            listed.insert(alarm.as_str().unwrap().to_owned());
        }
    }
    assert_eq!((shown, types), (metrics.clone(), error_types()));
    let arns = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm")
        .map(|(name, _)| format!("${{{name}.Arn}}"));
    assert_eq!(listed, arns.collect());

    for (name, alarm) in alarms(&template) {
        let several = alarm["Metrics"].as_array().into_iter().flatten();
        let several = several.map(|metric| &metric["MetricStat"]["Metric"]);
        for metric in several.chain([alarm]) {
            if metric["Namespace"] == json!({ "Ref": "AWS::StackName" }) {
                let metric = metric["MetricName"].as_str().unwrap();
                assert!(metrics.contains(metric), "{metric} of {name}");
            }
        }
    }
}

#[test]
fn each_exception_from_checkov_stands_at_its_resource_and_says_why() {
    let template = template();
    let mut exceptions = 0;
    for (name, resource) in template["Resources"].as_object().unwrap() {
        let skipped = resource["Metadata"]["checkov"]["skip"].as_array();
        for skip in skipped.into_iter().flatten() {
            let id = skip["id"].as_str().unwrap();
            let why = skip["comment"].as_str().unwrap_or_default();
            assert!(id.starts_with("CKV"), "{id} of {name}");
            assert!(why.len() > 40, "why {name} is excepted from {id}: {why:?}");
            exceptions += 1;
        }
    }
    assert_eq!(exceptions, 6, "as docs/deploy.md says");
    // Nor is anything skipped elsewhere.
    let written = std::fs::read_to_string("template.yaml").unwrap();
    assert!(!written.contains("checkov:skip"));
    let makefile = std::fs::read_to_string("Makefile").unwrap();
    for word in [
        "--skip-check",
        "--skip-framework",
        "--soft-fail",
        "--baseline",
    ] {
        assert!(!makefile.contains(word), "{word}");
    }
    for file in [".checkov.yaml", ".checkov.yml"] {
        assert!(!Path::new(file).exists(), "{file}");
    }
}

#[test]
fn the_page_of_deployment_explains_every_parameter() {
    let page = page("docs/deploy.md");
    let (_, table) = page
        .split_once("\n| parameter | default | |\n|---|---|---|\n")
        .unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let firsts = table.lines().map(|row| row.split('|').nth(1).unwrap());
    let firsts: String = firsts.collect();
    for parameter in template()["Parameters"].as_object().unwrap().keys() {
        assert!(firsts.contains(&format!("`{parameter}`")), "{parameter}");
    }
}

/// What `bench/costs.py` prints.
fn costs(arguments: &[&str]) -> String {
    let output = Command::new("python3")
        .arg("bench/costs.py")
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_bill_is_what_its_numbers_and_the_template_come_to() {
    // It fails if docs/costs.md is out of date.
    let headline = costs(&["check"]);
    let headline = headline.trim();
    let readme = std::fs::read_to_string("README.md").unwrap();
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(readme.contains(headline), "README says: {headline}");
}

#[test]
fn the_numbers_that_the_bill_takes_from_the_template_are_the_templates() {
    let account = json!({ "sessions": 1, "stages": 1, "participants": 1, "days_listed": 1 });
    let evaluated = costs(&["evaluate", &account.to_string()]);
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    let template = template();
    let resources = template["Resources"].as_object().unwrap();
    let of_type = |kind: &'static str| {
        let resources = resources.values();
        // What history costs, its page says.
        resources.filter(move |it| it["Type"] == kind && it["Condition"] != "WithHistory")
    };
    let metrics = of_type("AWS::CloudWatch::Alarm").map(|alarm| {
        let several = alarm["Properties"]["Metrics"].as_array();
        let several = several.into_iter().flatten();
        several
            .filter(|metric| metric["MetricStat"].is_object())
            .count()
            .max(1)
    });
    let filters = of_type("AWS::Logs::MetricFilter");
    let of_sweeps = filters.filter(|filter| {
        let metric = &filter["Properties"]["MetricTransformations"][0]["MetricName"];
        metric.as_str().unwrap().starts_with("Sweep")
    });
    let memory = properties(&template, "Function")["MemorySize"].as_f64();
    let default = |parameter: &str| {
        let default = &template["Parameters"][parameter]["Default"];
        let of_text = default.as_str().and_then(|text| text.parse().ok());
        default.as_f64().or(of_text)
    };
    let count = |count: usize| u32::try_from(count).ok().map(f64::from);
    for (name, number) in [
        ("memory_gb", memory.map(|megabytes| megabytes / 1024.0)),
        ("noncurrent_days", default("NoncurrentVersionDays")),
        ("log_days", default("LogRetentionDays")),
        ("alarm_metrics", count(metrics.sum())),
        (
            "dashboards",
            count(of_type("AWS::CloudWatch::Dashboard").count()),
        ),
        ("sweep_metrics", count(of_sweeps.count())),
        ("session_metrics", Some(8.0)),
    ] {
        assert_eq!(evaluated["names"][name].as_f64(), number, "{name}");
    }
}

/// The crates' sources that are free of circles.
const WITHOUT_CIRCLES: [&str; 3] = ["src", "local/src", "bench/measure/src"];

/// The files below a folder, each with its code, without comments and unit tests, by its module's path: `ivs::world`; the
/// crate's root is the empty path.
fn codes(folder: &Path, module: &str, codes: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let module = match name {
            "lib" | "main" if module.is_empty() => String::new(),
            name => format!("{module}::{name}")
                .trim_start_matches(':')
                .to_owned(),
        };
        if path.is_dir() {
            self::codes(&path, &module, codes);
        } else if name != "tests" && !(name == "main" && folder.join("lib.rs").exists()) {
            let text = std::fs::read_to_string(&path).unwrap();
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            let code: Vec<_> = text.lines().filter(is_code).collect();
            let code = code.join("\n");
            let units = ["mod tests {", "pub(crate) mod tests {"];
            let units = units.map(|tests| code.find(&format!("#[cfg(test)]\n{tests}")));
            let end = units.into_iter().flatten().min().unwrap_or(code.len());
            codes.insert(module, code[..end].to_owned());
        }
    }
}

/// The paths that a tree of imports names: of `a::{b, c::D}` they are `a::b` and `a::c::D`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((prefix, inner)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inner = inner.trim().trim_end_matches(',');
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for character in inner.chars() {
        match character {
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        parts.last_mut().unwrap().push(character);
    }
    let leaf = |leaf: String| format!("{}{leaf}", prefix.trim());
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| leaves(part)).map(leaf).collect()
}

/// The modules that a module's code imports from.
fn imported(module: &str, code: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let statements = code.split("use ").skip(1);
    let trees = statements.filter_map(|rest| rest.split(';').next());
    let inline = code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        format!("crate::{}", &rest[..end.unwrap_or(rest.len())])
    });
    let inline = inline.filter(|path| !path.ends_with("::"));
    let paths = trees.flat_map(leaves).chain(inline);
    let file_of = |path: String| {
        let mut at: Vec<&str> = module.split("::").filter(|name| !name.is_empty()).collect();
        for (place, name) in path.split("::").enumerate() {
            match name.trim() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                // Another crate, if it is no child of this module.
                name if place == 0 => {
                    at.push(name);
                    modules.get(&at.join("::"))?;
                }
                name => at.push(name),
            }
        }
        while !modules.contains_key(&at.join("::")) {
            at.pop()?;
        }
        Some(at.join("::")).filter(|file| file != module)
    };
    paths.filter_map(file_of).collect()
}

#[test]
fn no_file_imports_in_a_circle() {
    for folder in WITHOUT_CIRCLES {
        let mut modules = BTreeMap::new();
        codes(Path::new(folder), "", &mut modules);
        let mut imports: BTreeMap<_, _> = modules
            .iter()
            .map(|(module, code)| (module.clone(), imported(module, code, &modules)))
            .collect();
        assert!(imports.values().any(|imports| !imports.is_empty()));
        // What imports nothing is in no circle, nor is what then imports nothing any more.
        while let Some(leaf) = imports.iter().find(|(_, imports)| imports.is_empty()) {
            let leaf = leaf.0.clone();
            imports.remove(&leaf);
            for imports in imports.values_mut() {
                imports.remove(&leaf);
            }
        }
        assert!(
            imports.is_empty(),
            "{folder}, in or before a circle: {imports:?}"
        );
    }
}

/// The files of this repository below a folder, without what is built, fetched or made by running it.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if name.starts_with('.') || name == "target" || name == "__pycache__" {
            continue;
        }
        let relative = path.strip_prefix(".").unwrap_or(&path).to_owned();
        if path.is_dir() {
            files(&relative, found);
        } else {
            found.push(relative);
        }
    }
}

fn files_that_end_in(ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(Path::new("."), &mut found);
    found.retain(|path| ends.iter().any(|end| path.to_string_lossy().ends_with(end)));
    found.sort();
    found
}

/// The lines of a page that are no code.
fn prose(text: &str) -> Vec<&str> {
    let mut code = false;
    let is_prose = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    };
    text.lines().filter(is_prose).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|&it| it.is_alphanumeric() || " -_".contains(it));
        let anchor: String = kept.map(|it| if it == ' ' { '-' } else { it }).collect();
        assert!(anchors.insert(anchor.clone()), "two headings are #{anchor}");
    }
    anchors
}

/// The targets of a page's links. A link may stand on two lines.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).join("\n");
    let targets = text.split("](").skip(1);
    let targets = targets.map(|rest| rest.split(')').next().unwrap().to_owned());
    targets.collect()
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut relative = 0;
    for from in files_that_end_in(&[".md"]) {
        for link in links(&page(from.to_str().unwrap())) {
            if link.starts_with("https://") {
                continue;
            }
            relative += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = match path {
                "" => from.clone(),
                path => from.parent().unwrap().join(path),
            };
            assert!(to.is_file(), "{} links to {link}", from.display());
            if !anchor.is_empty() {
                let anchors = anchors(&page(to.to_str().unwrap()));
                assert!(
                    anchors.contains(anchor),
                    "{} links to {link}; there are {anchors:?}",
                    from.display()
                );
            }
        }
    }
    assert!(relative > 60, "{relative} links were looked at");
}

#[test]
fn readme_leads_to_every_page() {
    let linked: BTreeSet<_> = links(&page("README.md"))
        .into_iter()
        .map(|link| PathBuf::from(link.split('#').next().unwrap()))
        .collect();
    for path in files_that_end_in(&[".md"]) {
        let itself = path == Path::new("README.md");
        assert!(itself || linked.contains(&path), "{}", path.display());
    }
}

#[test]
fn pages_that_are_named_elsewhere_exist() {
    let named_in = [".rs", ".py", ".yaml", ".sql", ".sh", ".toml", "Makefile"];
    let mut named = 0;
    for from in files_that_end_in(&named_in) {
        let text = page(from.to_str().unwrap());
        for (at, _) in text.match_indices("docs/") {
            let may_stand = |it: char| it.is_ascii_alphanumeric() || "/-_.#".contains(it);
            let name = text[at..].split(|it| !may_stand(it)).next().unwrap();
            let name = name.trim_end_matches('.');
            let (path, anchor) = name.split_once('#').unwrap_or((name, ""));
            let file = Path::new(path);
            if file.extension().is_none_or(|it| it != "md") {
                continue;
            }
            named += 1;
            assert!(file.is_file(), "{} names {name}", from.display());
            let known = anchor.is_empty() || anchors(&page(path)).contains(anchor);
            assert!(known, "{} names {name}", from.display());
        }
    }
    assert!(named > 20, "{named} mentions were looked at");
}

#[test]
fn readme_and_the_page_of_architecture_stay_short() {
    for (path, bytes) in [("README.md", 9_000), ("ARCHITECTURE.md", 5_000)] {
        let len = page(path).len();
        assert!(len <= bytes, "{path} has {len} bytes, of {bytes}");
    }
}
