//! When the alarm about no sweep goes off, by CloudWatch's documented rules: its periods, metric math and missing data.
//!
//! "CloudWatch attempts to retrieve a higher number of data points than the number specified as Evaluation Periods", and
//! as long as it finds enough of them it does not ask how missing ones are to be treated:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html>.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use serde_json::{Value, json};

/// How many points more than its own periods an alarm looks back over: of 3 periods 5, in AWS's examples.
const FURTHER: usize = 2;
const MINUTE: usize = 60;

fn template() -> Value {
    let output = Command::new(".venv/bin/python3")
        .args(["tests/template_json.py", "template.yaml"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`make test` installs it: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An alarm that counts: it goes off when at least `needed` of `periods` points are below 1.
struct Alarm {
    seconds: usize,
    periods: usize,
    needed: usize,
    /// What stands in for a period without data, by the expression.
    filled: Option<f64>,
    /// Otherwise, whether it breaches.
    missing_breaches: bool,
}

impl Alarm {
    /// The one of the template, with these parameters.
    fn of_template(template: &Value, no_sweep_seconds: &str, by_itself: bool) -> Self {
        let alarm = &template["Resources"]["NoSweepAlarm"]["Properties"];
        let either = |value: &Value| {
            assert_eq!(value["Fn::If"][0], "SweepsByItself");
            let chosen = &value["Fn::If"][if by_itself { 1 } else { 2 }];
            chosen.as_str().unwrap().to_owned()
        };
        let number = |value: &Value| {
            let found = &value["Fn::FindInMap"];
            assert_eq!(found[1], json!({ "Ref": "NoSweepSeconds" }));
            let map = &template["Mappings"][found[0].as_str().unwrap()];
            let number = &map[no_sweep_seconds][found[2].as_str().unwrap()];
            usize::try_from(number.as_u64().unwrap()).unwrap()
        };
        let [expression, metric] = &alarm["Metrics"].as_array().unwrap()[..] else {
            unreachable!("an expression and its metric");
        };
        let filled = either(&expression["Expression"]);
        let filled = filled.strip_prefix("FILL(sweeps, ").unwrap();
        let filled = filled.strip_suffix(')').unwrap().parse().unwrap();
        assert_eq!(
            (&metric["Id"], &metric["ReturnData"]),
            (&json!("sweeps"), &json!(false))
        );
        assert_eq!(metric["MetricStat"]["Stat"], "Sum");
        assert_eq!(alarm["ComparisonOperator"], "LessThanThreshold");
        assert_eq!(alarm["Threshold"], 1);
        let seconds = metric["MetricStat"]["Period"].as_u64().unwrap();
        Self {
            seconds: usize::try_from(seconds).unwrap(),
            periods: number(&alarm["EvaluationPeriods"]),
            needed: number(&alarm["DatapointsToAlarm"]),
            filled: Some(filled),
            missing_breaches: either(&alarm["TreatMissingData"]) == "breaching",
        }
    }

    /// Whether it is on at an instant, with these sweeps. Documents do not say whether the newest point is that of the
    /// period that still runs (`behind` 0) or of the last whole one (1).
    fn is_on(&self, sweeps: &[usize], at: usize, behind: usize) -> bool {
        let newest = at / self.seconds - behind;
        let points = (newest + 1 - self.periods - FURTHER..=newest).map(|period| {
            let its_own = period * self.seconds..(period + 1) * self.seconds;
            let count = sweeps
                .iter()
                .filter(|it| **it <= at && its_own.contains(it))
                .count();
            (count > 0).then_some(1.0).or(self.filled)
        });
        let points: Vec<_> = points.collect();
        let real: Vec<_> = points.iter().flatten().map(|value| *value < 1.0).collect();
        let breaches = if real.len() >= self.periods {
            real
        } else {
            let treated = points
                .iter()
                .map(|it| it.map_or(self.missing_breaches, |it| it < 1.0));
            treated.collect()
        };
        let counted = breaches.iter().rev().take(self.periods);
        counted.filter(|breaches| **breaches).count() >= self.needed
    }

    /// The seconds from the last sweep until it goes off; before that it must be quiet from `quiet_from` on.
    fn delay(&self, sweeps: &[usize], quiet_from: usize, behind: usize) -> usize {
        let last = *sweeps.last().unwrap();
        let minutes = (quiet_from..last + 10 * 86_400).step_by(MINUTE);
        let mut on = minutes.filter(|at| self.is_on(sweeps, *at, behind));
        let first = on.next().unwrap();
        assert!(
            first > last,
            "on at {first}, while sweeps come until {last}"
        );
        first - last
    }
}

/// Sweeps every so many seconds, for ten days, each ended some time after its tick.
fn sweeps_every(seconds: usize) -> Vec<usize> {
    let ticks = (0..10 * 86_400 / seconds).map(|tick| tick * seconds);
    ticks
        .enumerate()
        .map(|(number, tick)| tick + number * 97 % 600)
        .collect()
}

fn allowed(template: &Value) -> Vec<String> {
    let values = template["Parameters"]["NoSweepSeconds"]["AllowedValues"]
        .as_array()
        .unwrap();
    values.iter().map(Value::to_string).collect()
}

#[test]
fn the_alarm_about_no_sweep_comes_when_its_parameter_says_and_never_while_sweeps_come_twice_as_often()
 {
    let template = template();
    for value in allowed(&template) {
        let alarm = Alarm::of_template(&template, &value, true);
        let seconds: usize = value.parse().unwrap();
        for behind in [0, 1] {
            let delay = alarm.delay(&sweeps_every(seconds / 2), 5 * 86_400, behind);
            let about = seconds - 900..=seconds + 900;
            assert!(
                about.contains(&delay),
                "{delay} s with NoSweepSeconds={value}"
            );
        }
    }
}

#[test]
fn an_alarm_on_missing_data_alone_would_come_three_periods_late() {
    let former = Alarm {
        seconds: 3600,
        periods: 1,
        needed: 1,
        filled: None,
        missing_breaches: true,
    };
    assert!(former.delay(&sweeps_every(900), 5 * 86_400, 1) > 3 * 3600);
}

#[test]
fn where_sweeps_are_switched_off_there_is_no_alarm_about_them() {
    let template = template();
    let alarm = Alarm::of_template(&template, "3600", false);
    for at in (5 * 86_400..6 * 86_400).step_by(MINUTE) {
        assert!(
            !alarm.is_on(&[], at, 0) && !alarm.is_on(&[], at, 1),
            "on at {at}"
        );
    }
}

#[test]
fn no_alarm_looks_back_further_than_cloudwatch_takes() {
    let template = template();
    for value in allowed(&template) {
        let alarm = Alarm::of_template(&template, &value, true);
        assert_eq!((alarm.periods * alarm.seconds).to_string(), value);
        assert!(alarm.seconds >= 3600 || alarm.periods * alarm.seconds <= 86_400);
    }
    for (name, resource) in template["Resources"].as_object().unwrap() {
        let alarm = &resource["Properties"];
        if resource["Type"] != "AWS::CloudWatch::Alarm" || name == "NoSweepAlarm" {
            continue;
        }
        let several = alarm["Metrics"].as_array().into_iter().flatten();
        let periods = several.map(|metric| &metric["MetricStat"]["Period"]);
        let periods = periods.chain([&alarm["Period"]]).filter_map(Value::as_u64);
        let seconds = periods.max().unwrap();
        let most = if seconds < 3600 { 86_400 } else { 604_800 };
        let looked_at = alarm["EvaluationPeriods"].as_u64().unwrap() * seconds;
        assert!(looked_at <= most, "{name}: {looked_at} s");
    }
}
