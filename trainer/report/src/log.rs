//! Training logs: one JSON object a line, as numbers over steps.
//!
//! A run that was killed and resumed has logged some steps twice; the later line counts. A last line without an end
//! is one that was being written when the run was killed, and is left out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::ReportError;

/// One log step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// Optimizer step.
    pub(crate) step: u64,
    /// Phase of the training, where it has phases.
    pub(crate) phase: Option<String>,
    /// Every number, by its path in the object, e.g. `terms.variance`. A number that was not finite is NaN.
    pub(crate) values: BTreeMap<String, f64>,
    /// Alarms of the monitors.
    pub(crate) alarms: Vec<String>,
}

/// An alarm of the monitors over the training.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Alarm {
    /// What it says, without the numbers.
    pub(crate) what: String,
    /// Phase in which it was first raised.
    pub(crate) phase: Option<String>,
    /// First and last step at which it was raised.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Checks that raised it.
    pub(crate) raised: usize,
    /// Checks since the last that raised it.
    pub(crate) silent_since: usize,
    last_check: usize,
}

/// A training log in the order of the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Log {
    /// The log steps.
    pub(crate) records: Vec<Record>,
}

impl Log {
    /// Reads a log; `None` where the file does not exist.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, ReportError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReportError::Io { path: path.into(), source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ReportError> {
        let mut records: Vec<Record> = Vec::new();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let record = match serde_json::from_str::<Map<String, Value>>(line) {
                Ok(object) => record(&object),
                Err(_) if !line.ends_with('\n') => continue,
                Err(error) => Err(error.to_string()),
            };
            let record = record.map_err(|reason| ReportError::Log { path: path.into(), line: index + 1, reason })?;
            while records.last().is_some_and(|last| last.step >= record.step) {
                records.pop();
            }
            records.push(record);
        }
        Ok(Self { records })
    }

    /// A number over the steps; empty where no line has it.
    pub(crate) fn series(&self, name: &str) -> Vec<(f64, f64)> {
        let values = self.records.iter().filter_map(|record| Some((record.step as f64, *record.values.get(name)?)));
        values.collect()
    }

    /// Names of the numbers that satisfy a condition, in alphabetical order.
    pub(crate) fn names(&self, keep: impl Fn(&str) -> bool) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> =
            self.records.iter().flat_map(|record| record.values.keys()).collect();
        names.into_iter().filter(|name| keep(name)).cloned().collect()
    }

    /// First step of every phase after the first, with its name.
    pub(crate) fn boundaries(&self) -> Vec<(f64, String)> {
        let named = || self.records.iter().filter_map(|record| Some((record.step as f64, record.phase.as_ref()?)));
        let changes = named().zip(named().skip(1)).filter(|(before, after)| before.1 != after.1);
        changes.map(|(_, (step, phase))| (step, phase.clone())).collect()
    }

    /// Name of the first phase, where the log has phases.
    pub(crate) fn first_phase(&self) -> Option<&str> {
        self.records.iter().find_map(|record| record.phase.as_deref())
    }

    /// Median of a number over the log; `None` where no line has it.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        let mut values: Vec<f64> =
            self.series(name).into_iter().map(|point| point.1).filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        Some(*values.get(values.len() / 2)?)
    }

    /// Last finite value of a number.
    pub(crate) fn last(&self, name: &str) -> Option<f64> {
        self.series(name).into_iter().rev().map(|point| point.1).find(|value| value.is_finite())
    }

    /// What became of every kind of alarm, in the order of their first step.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let mut alarms: Vec<Alarm> = Vec::new();
        let checks =
            self.records.iter().filter(|record| record.values.keys().any(|name| name.starts_with("monitors.")));
        for (check, record) in checks.enumerate() {
            for text in &record.alarms {
                // What stands in brackets are the numbers of one step.
                let what = text.split(" (").next().unwrap_or(text);
                let at = alarms.iter().position(|alarm| alarm.what == what).unwrap_or_else(|| {
                    let (phase, what) = (record.phase.clone(), what.to_owned());
                    alarms.push(Alarm { what, phase, first: record.step, ..Alarm::default() });
                    alarms.len() - 1
                });
                let alarm = &mut alarms[at];
                (alarm.last, alarm.raised, alarm.last_check) = (record.step, alarm.raised + 1, check);
            }
            for alarm in &mut alarms {
                alarm.silent_since = check - alarm.last_check;
            }
        }
        alarms
    }

    /// Number of log steps whose loss was not finite.
    pub(crate) fn broken(&self) -> usize {
        self.series("loss").iter().filter(|point| !point.1.is_finite()).count()
    }
}

fn record(object: &Map<String, Value>) -> Result<Record, String> {
    let step = object.get("step").and_then(Value::as_u64).ok_or("no whole number `step`")?;
    let phase = object.get("phase").and_then(Value::as_str).map(str::to_owned);
    let mut values = BTreeMap::new();
    flatten("", object, &mut values);
    values.remove("step");
    let alarms = object.get("alarms").and_then(Value::as_array).into_iter().flatten();
    let alarms = alarms.filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Record { step, phase, values, alarms })
}

/// Collects the numbers of an object, those of the objects in it by their path. JSON writes what is not finite as null.
fn flatten(prefix: &str, object: &Map<String, Value>, values: &mut BTreeMap<String, f64>) {
    for (key, value) in object {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Number(number) => {
                values.insert(name, number.as_f64().unwrap_or(f64::NAN));
            }
            Value::Null if key == "loss" || prefix == "terms" => {
                values.insert(name, f64::NAN);
            }
            Value::Object(inner) => flatten(&name, inner, values),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Log, ReportError> {
        Log::parse(text, Path::new("metrics.jsonl"))
    }

    #[test]
    fn nested_numbers_have_a_path_and_phases_a_boundary() {
        let log = parse(concat!(
            r#"{"step":1,"phase":"augmentation","loss":2.0,"terms":{"variance":0.5}}"#,
            "\n",
            r#"{"step":2,"phase":"paired","loss":null,"terms":{"variance":0.25},"monitors":{"sd":0.1},"alarms":["collapse (0.1)"]}"#,
            "\n"
        ))
        .unwrap();
        assert_eq!(log.series("terms.variance"), [(1.0, 0.5), (2.0, 0.25)]);
        assert_eq!(log.boundaries(), [(2.0, "paired".to_owned())]);
        assert_eq!(log.broken(), 1);
        assert_eq!(log.last("loss"), Some(2.0));
        assert_eq!(log.names(|name| name.starts_with("terms.")), ["terms.variance"]);
    }

    #[test]
    fn an_alarm_is_told_from_its_first_step_to_how_long_it_has_been_silent() {
        let line =
            |step: u64, alarms: &str| format!("{{\"step\":{step},\"monitors\":{{\"x\":1}},\"alarms\":[{alarms}]}}\n");
        let ignores = |spread: &str| format!("\"predictor ignores the perturbation (spread {spread})\"");
        let lines = [line(50, &ignores("1e-9")), line(100, &ignores("2e-9")), line(150, ""), line(200, "\"collapse\"")];
        let alarms = parse(&lines.concat()).unwrap().alarms();
        let told: Vec<_> =
            alarms.iter().map(|a| (a.what.as_str(), a.first, a.last, a.raised, a.silent_since)).collect();
        assert_eq!(told, [("predictor ignores the perturbation", 50, 100, 2, 2), ("collapse", 200, 200, 1, 0)]);
    }

    #[test]
    fn a_resumed_run_replaces_the_steps_that_it_repeats() {
        let lines: String = [(1, 1.0), (2, 2.0), (3, 3.0), (2, 2.5), (3, 3.5)]
            .map(|(step, loss)| format!("{{\"step\":{step},\"loss\":{loss}}}\n"))
            .concat();
        assert_eq!(parse(&lines).unwrap().series("loss"), [(1.0, 1.0), (2.0, 2.5), (3.0, 3.5)]);
    }

    #[test]
    fn a_broken_line_is_named_and_an_unfinished_last_one_left_out() {
        let error = parse("{\"step\":1}\n{oops}\n{\"step\":3}\n").unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl") && error.contains("line 2"), "{error}");
        assert_eq!(parse("{\"step\":1,\"loss\":1.0}\n{\"step\":2,\"lo").unwrap().records.len(), 1);
        assert!(parse("{\"loss\":1.0}\n").unwrap_err().to_string().contains("step"));
    }
}
