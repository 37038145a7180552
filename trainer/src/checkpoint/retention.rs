//! Which checkpoints are kept.
//!
//! Guarantee: the newest ones, those of every so many steps and the best one are never removed; of the rest nothing
//! stays.

use std::collections::BTreeMap;
use std::path::Path;

use super::best::{Best, read_best, write_best};
use super::disk::discard;
use super::manifest::MANIFEST;
use super::read::step_folders;
use super::{CheckpointError, step_folder};
use crate::config::{BestMode, CheckpointConfig};

/// The rule, from the configuration.
#[derive(Clone, Debug)]
pub(super) struct Retention(CheckpointConfig);

impl Retention {
    pub(super) fn new(config: &CheckpointConfig) -> Self {
        Self(config.clone())
    }

    /// The number that the best checkpoint is chosen by, out of those of a step; `None` where none is chosen, or the
    /// monitors, which are looked at only now and then, have not been yet.
    pub(super) fn metric(&self, metrics: &BTreeMap<String, f64>) -> Result<Option<f64>, CheckpointError> {
        if self.0.best.is_empty() {
            return Ok(None);
        }
        match metrics.get(&self.0.best) {
            Some(value) => Ok(Some(*value)),
            None if is_monitor(&self.0.best) && !metrics.keys().any(|name| is_monitor(name)) => Ok(None),
            None => Err(CheckpointError::Metric {
                name: self.0.best.clone(),
                known: metrics.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// After the checkpoint of `step` was written: notes it if it is the best, and removes what is not kept.
    pub(super) fn apply(&self, checkpoints: &Path, step: u64, metric: Option<f64>) -> Result<(), CheckpointError> {
        let best = metric.map(|value| self.note(checkpoints, step, value)).transpose()?.flatten();
        let (mut whole, mut incomplete) = (Vec::new(), Vec::new());
        for (step, folder) in step_folders(checkpoints)? {
            if folder.join(MANIFEST).exists() { whole.push(step) } else { incomplete.push(step) }
        }
        for step in &incomplete {
            tracing::warn!("{} has no {MANIFEST} and is removed", step_folder(checkpoints, *step).display());
        }
        for step in surplus(&whole, step, &self.0, best).into_iter().chain(incomplete) {
            discard(checkpoints, step)?;
        }
        Ok(())
    }

    /// The step of the best checkpoint, which may be this one.
    fn note(&self, checkpoints: &Path, step: u64, value: f64) -> Result<Option<u64>, CheckpointError> {
        let known = read_best(checkpoints)
            .inspect_err(|error| tracing::warn!("{error}; the best checkpoint is chosen anew"))
            .ok()
            .flatten()
            .filter(|best| best.metric == self.0.best && best.step != step)
            .filter(|best| step_folder(checkpoints, best.step).join(MANIFEST).exists());
        let better = |than: f64| match self.0.best_mode {
            BestMode::Min => value < than,
            BestMode::Max => value > than,
        };
        match known {
            Some(best) if !better(best.value) => Ok(Some(best.step)),
            known if !value.is_finite() => Ok(known.map(|best| best.step)),
            _ => {
                write_best(checkpoints, &Best { step, metric: self.0.best.clone(), value })?;
                Ok(Some(step))
            }
        }
    }
}

/// Whether a number of this name is measured every `engine.monitor_every` steps only.
fn is_monitor(name: &str) -> bool {
    name.starts_with("monitors/")
}

/// Steps whose checkpoints are not kept once that of `newest` is there. Later ones are of a run that was given up and
/// was resumed from before them because they are damaged; they are neither counted nor touched.
fn surplus(steps: &[u64], newest: u64, config: &CheckpointConfig, best: Option<u64>) -> Vec<u64> {
    let mut steps: Vec<u64> = steps.iter().copied().filter(|&step| step <= newest).collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    let kept = |step: u64| config.keep_every > 0 && step.is_multiple_of(config.keep_every) || best == Some(step);
    steps.into_iter().skip(config.keep).filter(|&step| !kept(step)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::fs;

    use super::super::best::BEST;
    use super::*;

    fn config(keep: usize, keep_every: u64) -> CheckpointConfig {
        CheckpointConfig { keep, keep_every, ..CheckpointConfig::default() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_goes_is_neither_among_the_newest_nor_a_multiple_nor_the_best_and_everything_else_goes(
            steps in prop::collection::btree_set(1_u64..300, 1..20), keep in 1_usize..5,
            keep_every in prop::sample::select(vec![0_u64, 10, 25]), picks in any::<[prop::sample::Index; 2]>(),
        ) {
            let steps: Vec<u64> = steps.into_iter().collect();
            let (newest, best) = (steps[picks[0].index(steps.len())], Some(steps[picks[1].index(steps.len())]));
            let gone = surplus(&steps, newest, &config(keep, keep_every), best);
            for step in steps.iter().copied() {
                let newer = steps.iter().filter(|&&other| other > step && other <= newest).count();
                let kept = step > newest || newer < keep || Some(step) == best
                    || (keep_every > 0 && step % keep_every == 0);
                prop_assert_eq!(gone.contains(&step), !kept, "step {} of {:?}, newest {}", step, &steps, newest);
            }
        }
    }

    #[test]
    fn a_monitor_that_was_not_looked_at_yet_chooses_nothing_and_an_unknown_one_is_named() {
        let rule = Retention::new(&CheckpointConfig { best: "monitors/student/sd_min".into(), ..config(1, 0) });
        let measured = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 0.5)).collect::<BTreeMap<_, _>>();
        assert_eq!(rule.metric(&measured(&["loss"])).unwrap(), None);
        assert_eq!(rule.metric(&measured(&["loss", "monitors/student/sd_min"])).unwrap(), Some(0.5));
        let error = rule.metric(&measured(&["monitors/teacher/sd_min"])).unwrap_err().to_string();
        assert!(error.contains("monitors/student/sd_min") && error.contains("monitors/teacher/sd_min"), "{error}");
    }

    #[test]
    fn the_best_by_either_mode_is_named_and_stays_while_others_go() {
        for (mode, best) in [(BestMode::Min, 20_u64), (BestMode::Max, 30)] {
            let folder = tempfile::tempdir().unwrap();
            let rule = CheckpointConfig { best: "loss".into(), best_mode: mode, ..config(1, 0) };
            let rule = Retention::new(&rule);
            for (step, loss) in [(10, 3.0), (20, 1.0), (30, 4.0), (40, f64::NAN), (50, 2.0)] {
                fs::create_dir(step_folder(folder.path(), step)).unwrap();
                fs::write(step_folder(folder.path(), step).join(MANIFEST), "").unwrap();
                let metric = rule.metric(&BTreeMap::from([("loss".to_owned(), loss)])).unwrap();
                rule.apply(folder.path(), step, metric).unwrap();
            }
            let left: Vec<u64> = step_folders(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect();
            assert_eq!(left, [best, 50]);
            let named = read_best(folder.path()).unwrap().unwrap();
            assert_eq!((named.step, named.metric.as_str()), (best, "loss"));
            assert!(!folder.path().join(".best.partial").exists());
        }
    }

    #[test]
    fn a_best_that_is_damaged_or_names_what_is_gone_or_another_metric_is_chosen_anew() {
        let texts = ["{", r#"{"step":5,"metric":"loss","value":0.0}"#, r#"{"step":10,"metric":"other","value":0.0}"#];
        for text in texts {
            let folder = tempfile::tempdir().unwrap();
            for step in [10, 20] {
                fs::create_dir(step_folder(folder.path(), step)).unwrap();
                fs::write(step_folder(folder.path(), step).join(MANIFEST), "").unwrap();
            }
            fs::write(folder.path().join(BEST), text).unwrap();
            let rule = Retention::new(&CheckpointConfig { best: "loss".into(), ..config(5, 0) });
            rule.apply(folder.path(), 20, Some(7.0)).unwrap();
            let wanted = Best { step: 20, metric: "loss".into(), value: 7.0 };
            assert_eq!(read_best(folder.path()).unwrap(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn a_metric_that_was_not_measured_is_named_with_those_that_were() {
        let rule = Retention::new(&CheckpointConfig { best: "los".into(), ..config(1, 0) });
        let error = rule.metric(&BTreeMap::from([("loss".to_owned(), 1.0)])).unwrap_err().to_string();
        assert!(error.contains("`los`") && error.contains("loss"), "{error}");
    }
}
