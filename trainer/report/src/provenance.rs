//! Where the numbers come from, as pairs of a name and a value.

use super::format::duration;
use syncyte_evaluation::benchmark::results::Results;

/// Stages in the order in which they run; others follow in alphabetical order.
const STAGES: [&str; 8] = ["store", "split", "pretrain", "finetune", "diffuse", "predict", "evaluate", "report"];

/// Hashes, seed, source revision and machine.
pub(crate) fn identity(results: &Results) -> Vec<(&'static str, String)> {
    let from = &results.provenance;
    let or_unknown = |text: &str| if text.trim().is_empty() { "not recorded".to_owned() } else { text.to_owned() };
    vec![
        ("configuration (SHA-256)", or_unknown(&from.config_hash)),
        ("data (SHA-256)", or_unknown(&from.data_hash)),
        ("split (SHA-256)", or_unknown(&from.split_hash)),
        ("parameters (SHA-256)", or_unknown(&from.parameter_hash)),
        ("source revision", or_unknown(&from.git)),
        ("seed", from.seed.to_string()),
        ("hardware", or_unknown(&from.hardware)),
    ]
}

/// Wall time of every stage and their sum; empty where none was recorded.
pub(crate) fn stages(results: &Results) -> Vec<(String, String)> {
    let recorded = &results.provenance.stage_seconds;
    let position = |name: &str| STAGES.iter().position(|stage| *stage == name).unwrap_or(STAGES.len());
    let mut stages: Vec<(&String, &f64)> = recorded.iter().collect();
    stages.sort_by_key(|(name, _)| (position(name), *name));
    let mut rows: Vec<(String, String)> =
        stages.into_iter().map(|(name, seconds)| (name.clone(), duration(*seconds))).collect();
    if rows.len() > 1 {
        rows.push(("total".into(), duration(recorded.values().sum())));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_stand_in_the_order_of_the_chain_and_sum_up() {
        let mut results = Results::default();
        results.provenance.stage_seconds =
            [("evaluate", 30.0), ("pretrain", 60.0), ("store", 15.0)].map(|(k, v)| (k.to_owned(), v)).into();
        let rows = stages(&results);
        let names: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
        assert_eq!(names, ["store", "pretrain", "evaluate", "total"]);
        assert_eq!(rows[3].1, "1 min 45 s");
    }

    #[test]
    fn what_was_not_recorded_is_said_so() {
        assert!(identity(&Results::default()).iter().any(|row| row.1 == "not recorded"));
    }
}
