//! From values of conditions to means, intervals and paired comparisons.

use super::bootstrap::{Bootstrap, Sampled};
use super::draws::{Scored, difference};
use super::results::{Better, Comparison, DynamicRange, MethodInfo, MetricInfo, Reference, ResultRow};
use super::strata;

/// Values of all methods on all conditions.
pub(super) struct Table<'a> {
    pub(super) methods: &'a [MethodInfo],
    pub(super) metrics: &'a [MetricInfo],
    /// Strata of every condition.
    pub(super) strata: &'a [Vec<&'static str>],
    /// Values by method, then condition.
    pub(super) values: &'a [Vec<Scored>],
    /// Ceilings by condition.
    pub(super) ceilings: &'a [Scored],
}

/// A method that scores better than the truth could.
#[derive(Clone, Copy, Debug)]
pub(super) struct Above<'a> {
    pub(super) split: &'static str,
    pub(super) metric: &'a MetricInfo,
    pub(super) method: &'a MethodInfo,
    pub(super) value: f64,
    pub(super) ceiling: f64,
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
                for (column, metric) in self.metrics.iter().enumerate() {
                    let defined = self.defined(at, &split, column);
                    let interval = bootstrap.interval(&defined).map(|interval| metric.within(interval));
                    rows.push(ResultRow {
                        method: method.name.clone(),
                        split: split.name.into(),
                        metric: metric.name.clone(),
                        value: mean(defined.iter().map(|sampled| sampled.value)),
                        ci_low: interval.map(|(low, _)| low),
                        ci_high: interval.map(|(_, high)| high),
                        n_conditions: defined.len(),
                        n_undefined: split.members.len() - defined.len(),
                        seeds: seeds.to_vec(),
                        ceiling: self.ceiling(&split, column),
                        sampling_sd: self.sampling_sd(at, &split, column),
                        verdict: None,
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
            for column in 0..self.metrics.len() {
                let best = self.best(&baselines, &split, column);
                for (&model, &baseline) in models.iter().flat_map(|model| baselines.iter().map(move |b| (model, b))) {
                    let compared = self.compare(model, baseline, &split, column, bootstrap);
                    comparisons.extend(compared.map(|row| Comparison { best_baseline: best == Some(baseline), ..row }));
                }
            }
        }
        comparisons
    }

    /// Means of what needs no method, e.g. chance; `value` of a condition under a metric.
    pub(super) fn references(&self, name: &str, value: impl Fn(usize, usize) -> Option<f64>) -> Vec<Reference> {
        let mut references = Vec::new();
        for split in self.splits() {
            for (column, metric) in self.metrics.iter().enumerate() {
                let defined: Vec<f64> = split.members.iter().filter_map(|&at| value(at, column)).collect();
                references.extend(mean(defined.iter().copied()).map(|value| Reference {
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

    /// The room of every metric that has a ceiling and that methods are judged by.
    pub(super) fn ranges(&self) -> Vec<DynamicRange> {
        let uninformed: Vec<usize> = (0..self.methods.len()).filter(|&at| !self.methods[at].informed).collect();
        let mut ranges = Vec::new();
        for split in self.splits() {
            for (column, metric) in self.columns(|metric| metric.judged) {
                let Some(ceiling) = self.ceiling(&split, column) else { continue };
                let best = self.best(&uninformed, &split, column);
                let value = best.and_then(|at| self.mean(at, &split, column));
                // An error has no value without a method; agreement has: none.
                let nothing = (metric.better == Better::Higher).then_some(0.0);
                let Some(floor) = value.or(nothing) else { continue };
                ranges.push(range(&split, metric, floor, best.map(|at| self.methods[at].name.clone()), ceiling));
            }
        }
        ranges
    }

    /// The metrics of which something holds, with the numbers of their columns.
    fn columns(&self, wanted: fn(&MetricInfo) -> bool) -> impl Iterator<Item = (usize, &MetricInfo)> {
        self.metrics.iter().enumerate().filter(move |(_, metric)| wanted(metric))
    }

    fn splits(&self) -> impl Iterator<Item = Split> {
        strata::ALL.into_iter().filter_map(|name| {
            let members: Vec<usize> = (0..self.strata.len()).filter(|&at| self.strata[at].contains(&name)).collect();
            (!members.is_empty()).then_some(Split { name, members })
        })
    }

    fn defined(&self, method: usize, split: &Split, column: usize) -> Vec<Sampled<'_>> {
        split.members.iter().filter_map(|&condition| self.values[method][condition].sampled(column)).collect()
    }

    fn mean(&self, method: usize, split: &Split, column: usize) -> Option<f64> {
        mean(self.defined(method, split, column).iter().map(|sampled| sampled.value))
    }

    fn ceiling(&self, split: &Split, column: usize) -> Option<f64> {
        mean(split.members.iter().filter_map(|&at| self.ceilings[at].value(column)))
    }

    /// Methods that score better than the truth could, by more than the interval of the difference, which counts that the
    /// ceiling is an estimate too. Not of distances between sets: where both are of one distribution, redrawing cells does
    /// not tell how such a distance varies.
    pub(super) fn above_ceiling(&self, bootstrap: &mut Bootstrap) -> Vec<Above<'_>> {
        let mut found = Vec::new();
        for split in self.splits() {
            for (column, metric) in self.columns(|metric| metric.judged && !metric.of_sets) {
                for (at, method) in self.methods.iter().enumerate() {
                    let pairs = split.members.iter().filter_map(|&condition| {
                        let value = self.values[at][condition].sampled(column)?;
                        let ceiling = self.ceilings[condition].sampled(column)?;
                        Some((difference(value, ceiling, metric.not_negative), value.value, ceiling.value))
                    });
                    let pairs: Vec<((f64, Vec<f32>), f64, f64)> = pairs.collect();
                    let differences: Vec<Sampled<'_>> =
                        pairs.iter().map(|((value, deviations), ..)| Sampled { value: *value, deviations }).collect();
                    let above = bootstrap.interval(&differences).is_some_and(|(low, high)| match metric.better {
                        Better::Higher => low > 0.0,
                        Better::Lower => high < 0.0,
                    });
                    let means = (mean(pairs.iter().map(|pair| pair.1)), mean(pairs.iter().map(|pair| pair.2)));
                    if let (true, (Some(value), Some(ceiling))) = (above, means) {
                        found.push(Above { split: split.name, metric, method, value, ceiling });
                    }
                }
            }
        }
        found
    }

    /// Standard error of the mean over a split that comes from sampling: from its values in parts of the samples.
    fn sampling_sd(&self, method: usize, split: &Split, column: usize) -> Option<f64> {
        let parts = split.members.iter().filter_map(|&condition| self.values[method][condition].parts(column));
        let parts: Vec<Vec<f64>> = parts.collect();
        let n = parts.first()?.len();
        let means: Vec<f64> = (0..n).filter_map(|part| mean(parts.iter().map(|values| values[part]))).collect();
        let centre = mean(means.iter().copied())?;
        let variance = means.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / (n - 1) as f64;
        Some((variance / n as f64).sqrt())
    }

    /// The method with the best mean, among those that are defined on at least half of the conditions: one that
    /// answers only where it is easy is no yardstick.
    fn best(&self, methods: &[usize], split: &Split, column: usize) -> Option<usize> {
        let metric = &self.metrics[column];
        let sign = match metric.better {
            Better::Lower => 1.0,
            Better::Higher => -1.0,
        };
        let scored = methods.iter().filter_map(|&at| {
            let defined = self.defined(at, split, column);
            let value = mean(defined.iter().map(|sampled| sampled.value));
            let value = value.map(|value| if metric.not_negative { value.max(0.0) } else { value });
            (2 * defined.len() >= split.members.len()).then_some(value).flatten().map(|value| (sign * value, at))
        });
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
    }

    fn compare(
        &self,
        model: usize,
        baseline: usize,
        split: &Split,
        column: usize,
        bootstrap: &mut Bootstrap,
    ) -> Option<Comparison> {
        let metric = &self.metrics[column];
        let both = split.members.iter().filter_map(|&condition| {
            let sampled = |method: usize| self.values[method][condition].sampled(column);
            Some(difference(sampled(model)?, sampled(baseline)?, metric.not_negative))
        });
        let both: Vec<(f64, Vec<f32>)> = both.collect();
        let differences: Vec<Sampled<'_>> =
            both.iter().map(|(value, deviations)| Sampled { value: *value, deviations }).collect();
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
            difference: mean(differences.iter().map(|sampled| sampled.value))?,
            ci_low: interval.map(|(low, _)| low),
            ci_high: interval.map(|(_, high)| high),
            n_conditions: differences.len(),
            best_baseline: false,
            beats,
        })
    }
}

/// Puts into the rows of our models how they stand to the best baseline.
pub(super) fn pronounce(rows: &mut [ResultRow], comparisons: &[Comparison], metrics: &[MetricInfo]) {
    for comparison in comparisons.iter().filter(|comparison| comparison.best_baseline) {
        let judged = metrics.iter().any(|metric| metric.judged && metric.name == comparison.metric);
        let row = rows.iter_mut().find(|row| {
            row.method == comparison.method && row.split == comparison.split && row.metric == comparison.metric
        });
        if let Some(row) = row.filter(|_| judged) {
            row.verdict = Some(word(comparison).into());
        }
    }
}

fn word(comparison: &Comparison) -> &'static str {
    match (comparison.ci_low, comparison.ci_high) {
        _ if comparison.beats => "better",
        (Some(low), Some(high)) if low <= 0.0 && high >= 0.0 => "within noise",
        (Some(_), Some(_)) => "worse",
        _ => "cannot be judged",
    }
}

fn range(split: &Split, metric: &MetricInfo, floor: f64, floor_method: Option<String>, ceiling: f64) -> DynamicRange {
    let perfect = match metric.better {
        Better::Lower => 0.0,
        Better::Higher => 1.0,
    };
    let way = floor - perfect;
    let share = (way.abs() > 1e-12).then(|| (floor - ceiling) / way);
    DynamicRange { split: split.name.into(), metric: metric.name.clone(), floor, floor_method, ceiling, share }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0_usize);
    for value in values {
        sum += value;
        n += 1;
    }
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::{Table, pronounce};
    use crate::benchmark::bootstrap::Bootstrap;
    use crate::benchmark::draws::Scored;
    use crate::benchmark::results::{Better, MethodInfo, MetricInfo};
    use crate::benchmark::score::Values;

    fn method(name: &str, baseline: bool) -> MethodInfo {
        MethodInfo { name: name.into(), title: String::new(), description: String::new(), baseline, informed: true }
    }

    fn metric(better: Better) -> MetricInfo {
        let text = String::new;
        MetricInfo {
            name: "m".into(),
            title: text(),
            definition: text(),
            better,
            judged: true,
            not_negative: false,
            of_sets: false,
            range: [Some(0.0), None],
            unit: text(),
            oracle: text(),
        }
    }

    fn values(value: f64) -> Values {
        Values::from([(0, Some(value))])
    }

    fn scored(of: &[Option<f64>]) -> Vec<Scored> {
        let one = |&value: &Option<f64>| {
            let mut scored = Scored::default();
            scored.add(Values::from([(0, value)]), &[]);
            scored
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn an_interval_ends_where_the_metric_does() {
        let mut moved = Scored::default();
        moved.add(values(0.1), &[values(-0.9), values(1.1)]);
        let table = Table {
            methods: &[method("model", false)],
            metrics: &[metric(Better::Lower)],
            strata: &vec![vec!["test/all"]; 2],
            values: &[vec![moved.clone(), moved]],
            ceilings: &scored(&[None, None]),
        };
        let rows = table.rows(&[7], &mut Bootstrap::new(500, 0));
        assert_eq!(rows[0].ci_low, Some(0.0));
        assert!(rows[0].ci_high > Some(1.0), "{:?} has no upper end", rows[0].ci_high);
    }

    #[test]
    fn undefined_values_are_counted_and_never_averaged_and_comparisons_are_paired() {
        let methods = [method("weak", true), method("picky", true), method("model", false)];
        let strata = vec![vec!["test/all"]; 5];
        let metrics = [metric(Better::Lower)];
        let table = Table {
            methods: &methods,
            metrics: &metrics,
            strata: &strata,
            values: &[
                scored(&[Some(4.0), Some(5.0), Some(6.0), Some(7.0), Some(8.0)]),
                scored(&[Some(0.1), None, None, None, None]),
                scored(&[Some(3.0), Some(4.0), None, Some(5.5), Some(7.0)]),
            ],
            ceilings: &scored(&[Some(1.0), Some(2.0), Some(3.0), None, None]),
        };
        let mut bootstrap = Bootstrap::new(500, 0);
        let mut rows = table.rows(&[7], &mut bootstrap);
        let comparisons = table.comparisons(&mut bootstrap);
        pronounce(&mut rows, &comparisons, &metrics);
        let model = rows.iter().find(|row| row.method == "model").unwrap();
        assert_eq!((model.value, model.n_conditions, model.n_undefined), (Some(4.875), 4, 1));
        assert_eq!((model.ceiling, model.verdict.as_deref()), (Some(2.0), Some("better")));
        let picky = rows.iter().find(|row| row.method == "picky").unwrap();
        assert_eq!((picky.ci_low, picky.n_conditions, picky.n_undefined), (None, 1, 4));

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
    fn one_condition_cannot_be_judged() {
        let methods = [method("baseline", true), method("model", false)];
        let metrics = [metric(Better::Lower)];
        let table = Table {
            methods: &methods,
            metrics: &metrics,
            strata: &[vec!["test/all"]],
            values: &[scored(&[Some(4.0)]), scored(&[Some(1.0)])],
            ceilings: &scored(&[None]),
        };
        let mut bootstrap = Bootstrap::new(500, 0);
        let (mut rows, comparisons) = (table.rows(&[7], &mut bootstrap), table.comparisons(&mut bootstrap));
        pronounce(&mut rows, &comparisons, &metrics);
        let verdicts: Vec<_> = rows.iter().map(|row| row.verdict.as_deref()).collect();
        assert_eq!(verdicts, [None, Some("cannot be judged")]);
        assert!(!comparisons[0].beats);
    }

    #[test]
    fn the_range_goes_from_the_best_method_without_information_to_the_ceiling() {
        let blind = |name: &str| MethodInfo { informed: false, ..method(name, true) };
        let methods = [blind("zero"), blind("mean"), method("model", false)];
        let strata = [vec!["test/all"]];
        let of = |better, ceiling, zero, mean, model| {
            let metrics = [metric(better)];
            let values = [scored(&[zero]), scored(&[mean]), scored(&[model])];
            let ceilings = scored(&[ceiling]);
            let table =
                Table { methods: &methods, metrics: &metrics, strata: &strata, values: &values, ceilings: &ceilings };
            table.ranges()
        };
        let error = of(Better::Lower, Some(3.0), Some(5.0), Some(4.0), Some(3.5));
        assert_eq!((error[0].floor, error[0].floor_method.as_deref(), error[0].share), (4.0, Some("mean"), Some(0.25)));
        let agreement = of(Better::Higher, Some(0.8), None, None, Some(0.5));
        assert_eq!((agreement[0].floor, agreement[0].floor_method.clone(), agreement[0].share), (0.0, None, Some(0.8)));
        assert!(of(Better::Lower, None, Some(5.0), None, None).is_empty());
    }

    #[test]
    fn empty_splits_are_left_out_and_references_have_their_own_count() {
        let strata = [vec!["test/all", "test/singles"], vec!["test/all", "test/singles"]];
        let metrics = [metric(Better::Lower)];
        let table =
            Table { methods: &[], metrics: &metrics, strata: &strata, values: &[], ceilings: &scored(&[None, None]) };
        let references = table.references("chance", |at, _| [Some(2.0), None][at]);
        let splits: Vec<_> = references.iter().map(|row| (row.split.as_str(), row.value, row.n_conditions)).collect();
        assert_eq!(splits, [("test/all", 2.0, 1), ("test/singles", 2.0, 1)]);
    }

    #[test]
    fn a_method_above_its_ceiling_by_more_than_the_interval_is_the_alarm() {
        let methods = [method("model", false)];
        let strata = vec![vec!["test/all"]; 4];
        let of = |better, judged, values: [f64; 4], ceilings: [f64; 4]| {
            let metrics = [MetricInfo { judged, ..metric(better) }];
            let (values, ceilings) = ([scored(&values.map(Some))], scored(&ceilings.map(Some)));
            let table =
                Table { methods: &methods, metrics: &metrics, strata: &strata, values: &values, ceilings: &ceilings };
            table.above_ceiling(&mut Bootstrap::new(300, 0)).len()
        };
        let (high, low) = ([0.5, 0.6, 0.55, 0.5], [0.2, 0.25, 0.3, 0.2]);
        assert_eq!(of(Better::Higher, true, high, low), 1);
        assert_eq!(of(Better::Higher, true, low, high), 0);
        assert_eq!(of(Better::Lower, true, low, high), 1);
        assert_eq!(of(Better::Higher, true, [0.5, 0.1, 0.6, 0.1], [0.3, 0.4, 0.2, 0.3]), 0, "within noise");
        assert_eq!(of(Better::Higher, false, high, low), 0, "a form that is not judged");
    }
}
