//! The benchmark as a table: every method on every split under every metric.
//!
//! Guarantee: a table is complete or it is not made. A result file from which the row of a losing method was
//! deleted, or that has two rows for the same cell of the table, gives an error that names the rows.

use std::collections::{BTreeMap, BTreeSet};

use super::format::Digits;
use syncyte_evaluation::benchmark::results::{Better, DynamicRange, ResultRow, Results};

/// Why the table cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    /// Rows are missing.
    #[error(
        "the results are incomplete: no row for {} (method, split, metric); a report shows every method, also where it \
         loses: run `syncyte evaluate` again",
        list(.0)
    )]
    Missing(Vec<String>),
    /// A row stands twice.
    #[error("the results have more than one row for {} (method, split, metric): run `syncyte evaluate` again", list(.0))]
    Repeated(Vec<String>),
    /// A row names something that is not described.
    #[error("the results have rows of {}, which the lists `methods` and `metrics` do not describe: run `syncyte evaluate` again", list(.0))]
    Undescribed(Vec<String>),
    /// There is nothing to show.
    #[error("the results hold no {0}: run `syncyte evaluate` again")]
    Empty(&'static str),
}

/// The first few of many, then how many more.
fn list(names: &[String]) -> String {
    let shown = names.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}

/// The complete table. Methods, splits and metrics are addressed by their position.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// The result file.
    pub(crate) results: &'a Results,
    /// Names of the splits, in the order of the result file.
    pub(crate) splits: Vec<&'a str>,
    /// Split by split, method by method, metric by metric.
    rows: Vec<&'a ResultRow>,
    digits: Vec<Digits>,
}

impl<'a> Table<'a> {
    /// Makes the table.
    pub(crate) fn new(results: &'a Results) -> Result<Self, TableError> {
        let empty = [
            ("methods", results.methods.is_empty()),
            ("metrics", results.metrics.is_empty()),
            ("rows", results.results.is_empty()),
        ];
        if let Some((what, _)) = empty.into_iter().find(|(_, empty)| *empty) {
            return Err(TableError::Empty(what));
        }
        check_described(results)?;
        let splits = splits(results);
        let mut cells: BTreeMap<(&str, &str, &str), Vec<&ResultRow>> = BTreeMap::new();
        for row in &results.results {
            cells.entry((&row.split, &row.method, &row.metric)).or_default().push(row);
        }
        let (mut rows, mut missing, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for split in &splits {
            for method in &results.methods {
                for metric in &results.metrics {
                    let name = || format!("{}, {split}, {}", method.name, metric.name);
                    match cells.get(&(*split, &method.name, &metric.name)).map(Vec::as_slice) {
                        Some([row]) => rows.push(*row),
                        Some(_) => repeated.push(name()),
                        None => missing.push(name()),
                    }
                }
            }
        }
        if !missing.is_empty() {
            return Err(TableError::Missing(missing));
        }
        if !repeated.is_empty() {
            return Err(TableError::Repeated(repeated));
        }
        let digits = results.metrics.iter().map(|metric| {
            let rows = results.results.iter().filter(|row| row.metric == metric.name);
            Digits::of(rows.filter_map(|row| row.value))
        });
        let digits = digits.collect();
        Ok(Self { results, splits, rows, digits })
    }

    /// A cell of the table.
    pub(crate) fn row(&self, split: usize, method: usize, metric: usize) -> &'a ResultRow {
        let (methods, metrics) = (self.results.methods.len(), self.results.metrics.len());
        self.rows[(split * methods + method) * metrics + metric]
    }

    /// How the values of a metric are written.
    pub(crate) fn digits(&self, metric: usize) -> Digits {
        self.digits[metric]
    }

    /// Positions of the methods that are baselines, or of those that are not.
    pub(crate) fn methods(&self, baseline: bool) -> impl Iterator<Item = usize> + '_ {
        let methods = self.results.methods.iter().enumerate();
        methods.filter(move |(_, method)| method.baseline == baseline).map(|(index, _)| index)
    }

    /// The value of a cell such that more is better; `None` where undefined.
    pub(crate) fn merit(&self, split: usize, method: usize, metric: usize) -> Option<f64> {
        let value = self.row(split, method, metric).value?;
        let info = &self.results.metrics[metric];
        Some(oriented(info.better, if info.not_negative { value.max(0.0) } else { value }))
    }

    /// Positions of the metrics that methods are judged by.
    pub(crate) fn judged(&self) -> impl Iterator<Item = usize> + '_ {
        let metrics = self.results.metrics.iter().enumerate();
        metrics.filter(|(_, metric)| metric.judged).map(|(index, _)| index)
    }

    /// Number of conditions of a split.
    pub(crate) fn conditions(&self, split: usize) -> usize {
        let (methods, metrics) = (self.results.methods.len(), self.results.metrics.len());
        let rows = &self.rows[split * methods * metrics..(split + 1) * methods * metrics];
        rows.iter().map(|row| row.n_conditions + row.n_undefined).max().unwrap_or(0)
    }

    /// The room that a metric leaves on a split, where it has a ceiling.
    pub(crate) fn range(&self, split: usize, metric: usize) -> Option<&'a DynamicRange> {
        let (split, metric) = (self.splits[split], &self.results.metrics[metric].name);
        self.results.ranges.iter().find(|range| range.split == split && range.metric == *metric)
    }

    /// The best of the baselines, or of our models; the first of equals. A method that is undefined on most conditions
    /// does not count: one that answers only where it is easy is no yardstick. `None` where no method counts.
    pub(crate) fn best(&self, split: usize, metric: usize, baseline: bool) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for method in self.methods(baseline) {
            let row = self.row(split, method, metric);
            if let Some(merit) = self.merit(split, method, metric)
                && row.n_conditions >= row.n_undefined
                && best.is_none_or(|(_, most)| merit > most)
            {
                best = Some((method, merit));
            }
        }
        best.map(|(method, _)| method)
    }

    /// Whether no method is better, of those that count.
    pub(crate) fn is_best(&self, split: usize, method: usize, metric: usize) -> bool {
        let best = [true, false].into_iter().filter_map(|baseline| self.best(split, metric, baseline));
        let most = best.filter_map(|best| self.merit(split, best, metric)).max_by(f64::total_cmp);
        let row = self.row(split, method, metric);
        most.is_some() && self.merit(split, method, metric) == most && row.n_conditions >= row.n_undefined
    }

    /// Rank of a method under a metric, 1 for the best; equals share the mean of their ranks, undefined ranks last.
    pub(crate) fn rank(&self, split: usize, method: usize, metric: usize) -> f64 {
        let merit = |method: usize| self.merit(split, method, metric).unwrap_or(f64::NEG_INFINITY);
        let own = merit(method);
        let methods = 0..self.results.methods.len();
        let better = methods.clone().filter(|&other| merit(other) > own).count();
        let equal = methods.filter(|&other| merit(other).total_cmp(&own).is_eq()).count();
        better as f64 + f64::midpoint(1.0, equal as f64)
    }

    /// Mean rank of a method over the metrics that methods are judged by.
    pub(crate) fn mean_rank(&self, split: usize, method: usize) -> f64 {
        let metrics = self.judged().count().max(1);
        self.judged().map(|metric| self.rank(split, method, metric)).sum::<f64>() / metrics as f64
    }

    /// Our model with the best mean rank under the primary metric over the splits; the first of equals.
    pub(crate) fn best_model(&self) -> Option<usize> {
        let rank = |method: usize| (0..self.splits.len()).map(|split| self.rank(split, method, 0)).sum::<f64>();
        self.methods(false).min_by(|&a, &b| rank(a).total_cmp(&rank(b)))
    }
}

/// A value such that more is better.
pub(crate) fn oriented(better: Better, value: f64) -> f64 {
    match better {
        Better::Lower => -value,
        Better::Higher => value,
    }
}

/// Every split that a row or a condition names. A split of which all rows were deleted is thus still missed.
fn splits(results: &Results) -> Vec<&str> {
    let named = results.results.iter().map(|row| row.split.as_str());
    let named = named.chain(results.conditions.iter().map(|condition| condition.split.as_str()));
    let mut seen = BTreeSet::new();
    named.filter(|split| seen.insert(*split)).collect()
}

/// Checks that rows, conditions and comparisons speak of known methods and metrics. A method that was deleted from
/// the list and the table, but not from the conditions, is found here.
fn check_described(results: &Results) -> Result<(), TableError> {
    let methods: BTreeSet<&str> = results.methods.iter().map(|method| method.name.as_str()).collect();
    let metrics: BTreeSet<&str> = results.metrics.iter().map(|metric| metric.name.as_str()).collect();
    if methods.len() < results.methods.len() || metrics.len() < results.metrics.len() {
        let names =
            results.methods.iter().map(|method| &method.name).chain(results.metrics.iter().map(|metric| &metric.name));
        let mut seen = BTreeSet::new();
        return Err(TableError::Repeated(names.filter(|name| !seen.insert(*name)).cloned().collect()));
    }
    let rows = results.results.iter().map(|row| row.method.as_str());
    let conditions = results.conditions.iter().map(|condition| condition.method.as_str());
    let comparisons = results.comparisons.iter().flat_map(|pair| [pair.method.as_str(), pair.baseline.as_str()]);
    let mut unknown: BTreeSet<&str> =
        rows.chain(conditions).chain(comparisons).filter(|name| !methods.contains(name)).collect();
    unknown.extend(results.results.iter().map(|row| row.metric.as_str()).filter(|name| !metrics.contains(name)));
    if unknown.is_empty() {
        return Ok(());
    }
    Err(TableError::Undescribed(unknown.into_iter().map(str::to_owned).collect()))
}
