//! From values of conditions to means, intervals and paired comparisons.

use super::bootstrap::Bootstrap;
use super::results::{Better, Comparison, MethodInfo, MetricInfo, Reference, ResultRow};
use super::score::Values;
use super::strata;

/// Values of all methods on all conditions.
pub(super) struct Table<'a> {
    pub(super) methods: &'a [MethodInfo],
    pub(super) metrics: &'a [MetricInfo],
    /// Strata of every condition.
    pub(super) strata: &'a [Vec<&'static str>],
    /// Values by method, then condition.
    pub(super) values: &'a [Vec<Values>],
}

/// One split: its name and the conditions in it.
struct Split {
    name: &'static str,
    members: Vec<usize>,
}

impl Table<'_> {
    /// Means over the conditions where a metric is defined.
    pub(super) fn rows(&self, seeds: &[u64], bootstrap: &mut Bootstrap) -> Vec<ResultRow> {
        let mut rows = Vec::new();
        for (at, method) in self.methods.iter().enumerate() {
            for split in self.splits() {
                for metric in self.metrics {
                    let defined = self.defined(at, &split, &metric.name);
                    let interval = bootstrap.interval(&defined);
                    rows.push(ResultRow {
                        method: method.name.clone(),
                        split: split.name.into(),
                        metric: metric.name.clone(),
                        value: mean(&defined),
                        ci_low: interval.map(|(low, _)| low),
                        ci_high: interval.map(|(_, high)| high),
                        n_conditions: defined.len(),
                        n_undefined: split.members.len() - defined.len(),
                        seeds: seeds.to_vec(),
                    });
                }
            }
        }
        rows
    }

    /// Every method that is no baseline against every baseline, paired over conditions.
    pub(super) fn comparisons(&self, bootstrap: &mut Bootstrap) -> Vec<Comparison> {
        let (baselines, models): (Vec<usize>, Vec<usize>) =
            (0..self.methods.len()).partition(|&at| self.methods[at].baseline);
        let mut comparisons = Vec::new();
        for split in self.splits() {
            for metric in self.metrics {
                let best = self.best(&baselines, &split, metric);
                for (&model, &baseline) in models.iter().flat_map(|model| baselines.iter().map(move |b| (model, b))) {
                    let compared = self.compare(model, baseline, &split, metric, bootstrap);
                    comparisons.extend(compared.map(|row| Comparison { best_baseline: best == Some(baseline), ..row }));
                }
            }
        }
        comparisons
    }

    /// Means of what needs no method, e.g. chance; `values` by condition.
    pub(super) fn references(&self, name: &str, values: &[Values]) -> Vec<Reference> {
        let mut references = Vec::new();
        for split in self.splits() {
            for metric in self.metrics {
                let defined: Vec<f64> =
                    split.members.iter().filter_map(|&at| values[at].get(&metric.name).copied().flatten()).collect();
                references.extend(mean(&defined).map(|value| Reference {
                    name: name.into(),
                    split: split.name.into(),
                    metric: metric.name.clone(),
                    value,
                    n_conditions: defined.len(),
                }));
            }
        }
        references
    }

    fn splits(&self) -> impl Iterator<Item = Split> {
        strata::ALL.into_iter().filter_map(|name| {
            let members: Vec<usize> = (0..self.strata.len()).filter(|&at| self.strata[at].contains(&name)).collect();
            (!members.is_empty()).then_some(Split { name, members })
        })
    }

    fn value(&self, method: usize, condition: usize, metric: &str) -> Option<f64> {
        self.values[method][condition].get(metric).copied().flatten()
    }

    fn defined(&self, method: usize, split: &Split, metric: &str) -> Vec<f64> {
        split.members.iter().filter_map(|&condition| self.value(method, condition, metric)).collect()
    }

    /// The baseline with the best mean, among those that are defined on at least half of the conditions: one that
    /// answers only where it is easy is no yardstick.
    fn best(&self, baselines: &[usize], split: &Split, metric: &MetricInfo) -> Option<usize> {
        let sign = match metric.better {
            Better::Lower => 1.0,
            Better::Higher => -1.0,
        };
        let scored = baselines.iter().filter_map(|&at| {
            let defined = self.defined(at, split, &metric.name);
            (2 * defined.len() >= split.members.len()).then(|| mean(&defined)).flatten().map(|value| (sign * value, at))
        });
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
    }

    fn compare(
        &self,
        model: usize,
        baseline: usize,
        split: &Split,
        metric: &MetricInfo,
        bootstrap: &mut Bootstrap,
    ) -> Option<Comparison> {
        let both = split.members.iter().filter_map(|&condition| {
            Some(self.value(model, condition, &metric.name)? - self.value(baseline, condition, &metric.name)?)
        });
        let differences: Vec<f64> = both.collect();
        let interval = bootstrap.interval(&differences);
        let beats = interval.is_some_and(|(low, high)| match metric.better {
            Better::Lower => high < 0.0,
            Better::Higher => low > 0.0,
        });
        Some(Comparison {
            method: self.methods[model].name.clone(),
            baseline: self.methods[baseline].name.clone(),
            split: split.name.into(),
            metric: metric.name.clone(),
            difference: mean(&differences)?,
            ci_low: interval.map(|(low, _)| low),
            ci_high: interval.map(|(_, high)| high),
            n_conditions: differences.len(),
            best_baseline: false,
            beats,
        })
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::benchmark::bootstrap::Bootstrap;
    use crate::benchmark::results::{Better, MethodInfo, MetricInfo};
    use crate::benchmark::score::Values;

    fn method(name: &str, baseline: bool) -> MethodInfo {
        MethodInfo { name: name.into(), title: String::new(), description: String::new(), baseline }
    }

    fn values(of: &[Option<f64>]) -> Vec<Values> {
        of.iter().map(|&value| Values::from([("l2".to_string(), value)])).collect()
    }

    #[test]
    fn undefined_values_are_counted_and_never_averaged_and_comparisons_are_paired() {
        let methods = [method("weak", true), method("picky", true), method("model", false)];
        let metric =
            MetricInfo { name: "l2".into(), title: String::new(), definition: String::new(), better: Better::Lower };
        let strata = vec![vec!["test/all"]; 5];
        let table = Table {
            methods: &methods,
            metrics: &[metric],
            strata: &strata,
            values: &[
                values(&[Some(4.0), Some(5.0), Some(6.0), Some(7.0), Some(8.0)]),
                values(&[Some(0.1), None, None, None, None]),
                values(&[Some(3.0), Some(4.0), None, Some(5.5), Some(7.0)]),
            ],
        };
        let mut bootstrap = Bootstrap::new(500, 0);
        let rows = table.rows(&[7], &mut bootstrap);
        let model = rows.iter().find(|row| row.method == "model").unwrap();
        assert_eq!((model.value, model.n_conditions, model.n_undefined), (Some(4.875), 4, 1));
        let picky = rows.iter().find(|row| row.method == "picky").unwrap();
        assert_eq!((picky.ci_low, picky.n_conditions, picky.n_undefined), (None, 1, 4));

        let comparisons = table.comparisons(&mut bootstrap);
        let against_weak = comparisons.iter().find(|row| row.baseline == "weak").unwrap();
        assert_eq!((against_weak.difference, against_weak.n_conditions), (-1.125, 4));
        assert!(
            against_weak.beats && against_weak.best_baseline,
            "a baseline on one of five conditions is no yardstick"
        );
        let against_picky = comparisons.iter().find(|row| row.baseline == "picky").unwrap();
        assert!(!against_picky.beats && !against_picky.best_baseline);
    }

    #[test]
    fn empty_splits_are_left_out_and_references_have_their_own_count() {
        let metric =
            MetricInfo { name: "l2".into(), title: String::new(), definition: String::new(), better: Better::Lower };
        let strata = [vec!["test/all", "test/singles"], vec!["test/all", "test/singles"]];
        let table = Table { methods: &[], metrics: &[metric], strata: &strata, values: &[] };
        let references = table.references("replicate", &values(&[Some(2.0), None]));
        let splits: Vec<_> = references.iter().map(|row| (row.split.as_str(), row.value, row.n_conditions)).collect();
        assert_eq!(splits, [("test/all", 2.0, 1), ("test/singles", 2.0, 1)]);
    }
}
