//! The verdict: on every split and metric the best of our models against the best baseline, losses first.
//!
//! Guarantee: nothing enters but the result file. A difference counts as clear only where the paired 95 % interval
//! lies on one side of zero or, without paired differences, where the two intervals do not overlap.

use super::format::{arrow, count};
use super::table::{Table, oriented};
use syncyte_evaluation::benchmark::results::ResultRow;

/// What a difference rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Evidence {
    /// Difference, model minus baseline, over the conditions where both are defined, and its interval.
    Paired { difference: f64, low: f64, high: f64, conditions: usize },
    /// The intervals of the two values, which overlap or not.
    Intervals { apart: bool },
    /// The two values alone.
    Values,
}

/// One of our models against one baseline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Duel {
    /// Position of the split.
    pub(crate) split: usize,
    /// Position of the metric.
    pub(crate) metric: usize,
    /// Position of our model; `None` where the metric is undefined for all of them.
    pub(crate) model: Option<usize>,
    /// Position of the baseline.
    pub(crate) baseline: usize,
    /// How much better the model is, in units of the metric; not positive where the baseline is at least as good.
    advantage: f64,
    /// What the difference rests on.
    pub(crate) evidence: Evidence,
}

impl Duel {
    /// Holds a model against a baseline; `None` where either is undefined.
    pub(crate) fn new(table: &Table<'_>, split: usize, metric: usize, model: usize, baseline: usize) -> Option<Self> {
        let gain = table.merit(split, model, metric)? - table.merit(split, baseline, metric)?;
        let evidence = evidence(table, split, metric, model, baseline);
        let better = table.results.metrics[metric].better;
        let advantage = match evidence {
            Evidence::Paired { difference, .. } => oriented(better, difference),
            _ => gain,
        };
        Some(Self { split, metric, model: Some(model), baseline, advantage, evidence })
    }

    /// Whether the model is ahead.
    pub(crate) fn won(&self) -> bool {
        self.advantage > 0.0
    }

    /// Whether the difference is more than the noise of the conditions.
    pub(crate) fn clear(&self) -> bool {
        match self.evidence {
            _ if self.model.is_none() => true,
            Evidence::Paired { low, high, .. } => low > 0.0 || high < 0.0,
            Evidence::Intervals { apart } => apart,
            Evidence::Values => false,
        }
    }

    /// The difference, and its interval or what it rests on, in words.
    pub(crate) fn evidence_text(&self, table: &Table<'_>) -> (String, String) {
        let digits = table.digits(self.metric);
        let detail = match self.evidence {
            _ if self.model.is_none() => "undefined for our models".into(),
            Evidence::Paired { difference, low, high, conditions } => {
                let detail = format!("{}, n = {conditions}", digits.interval(low, high));
                return (digits.signed(difference), detail);
            }
            Evidence::Intervals { apart: true } => "unpaired, intervals apart".into(),
            Evidence::Intervals { apart: false } => "unpaired, intervals overlap".into(),
            Evidence::Values => "no interval".into(),
        };
        ("–".into(), detail)
    }

    /// One word on how sure the difference is.
    pub(crate) fn reading(&self) -> &'static str {
        if self.clear() { "clear" } else { "within noise" }
    }
}

fn evidence(table: &Table<'_>, split: usize, metric: usize, model: usize, baseline: usize) -> Evidence {
    let (split_name, results) = (table.splits[split], table.results);
    let (model_name, baseline_name) = (&results.methods[model].name, &results.methods[baseline].name);
    let pair = results.comparisons.iter().find(|pair| {
        pair.split == split_name
            && pair.metric == results.metrics[metric].name
            && pair.method == *model_name
            && pair.baseline == *baseline_name
    });
    if let Some(pair) = pair
        && let (Some(low), Some(high)) = (pair.ci_low, pair.ci_high)
    {
        return Evidence::Paired { difference: pair.difference, low, high, conditions: pair.n_conditions };
    }
    let interval = |method: usize| {
        let row = table.row(split, method, metric);
        row.ci_low.zip(row.ci_high)
    };
    match (interval(model), interval(baseline)) {
        (Some(a), Some(b)) => Evidence::Intervals { apart: a.0 > b.1 || b.0 > a.1 },
        _ => Evidence::Values,
    }
}

/// Whether one of our models is clearly better than the best baseline.
pub(crate) fn beats_best_baseline(table: &Table<'_>, split: usize, metric: usize, model: usize) -> bool {
    table
        .best(split, metric, true)
        .and_then(|baseline| Duel::new(table, split, metric, model, baseline))
        .is_some_and(|duel| duel.won() && duel.clear())
}

/// All comparisons of a result file.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Where a baseline is at least as good, clear ones first.
    pub(crate) lost: Vec<Duel>,
    /// Where our best model is ahead, clear ones first.
    pub(crate) won: Vec<Duel>,
    /// Split and metric where no baseline is defined.
    pub(crate) open: Vec<(usize, usize)>,
    /// Splits with fewer than two conditions, on which nothing can be judged.
    pub(crate) unjudged: Vec<usize>,
    /// Whether there are baselines and models to compare.
    comparable: Result<(), &'static str>,
}

impl Verdict {
    /// Compares on every split under every metric.
    pub(crate) fn new(table: &Table<'_>) -> Self {
        let mut verdict =
            Self { lost: Vec::new(), won: Vec::new(), open: Vec::new(), unjudged: Vec::new(), comparable: Ok(()) };
        if table.methods(true).next().is_none() {
            verdict.comparable = Err("No baseline was evaluated, so these results support no claim about our models.");
        } else if table.methods(false).next().is_none() {
            verdict.comparable = Err("Only baselines were evaluated; these results say nothing about our models.");
        }
        if verdict.comparable.is_err() {
            return verdict;
        }
        for split in 0..table.splits.len() {
            if table.conditions(split) < 2 {
                verdict.unjudged.push(split);
                continue;
            }
            for metric in table.judged() {
                verdict.judge(table, split, metric);
            }
        }
        verdict.lost.sort_by_key(|duel| !duel.clear());
        verdict.won.sort_by_key(|duel| !duel.clear());
        verdict
    }

    fn judge(&mut self, table: &Table<'_>, split: usize, metric: usize) {
        let Some(baseline) = table.best(split, metric, true) else {
            self.open.push((split, metric));
            return;
        };
        let model = table.best(split, metric, false);
        let duel = model.and_then(|model| Duel::new(table, split, metric, model, baseline));
        let default = Duel { split, metric, model: None, baseline, advantage: 0.0, evidence: Evidence::Values };
        let duel = duel.unwrap_or(default);
        if duel.won() { self.won.push(duel) } else { self.lost.push(duel) }
    }

    /// The verdict in a few sentences: the primary metric first, then all of them.
    pub(crate) fn sentences(&self, table: &Table<'_>) -> Vec<String> {
        if let Err(reason) = self.comparable {
            return vec![reason.into()];
        }
        let clear = |duels: &[Duel]| duels.iter().filter(|duel| duel.clear()).count();
        let primary = &table.results.metrics[0];
        let splits = table.splits.len() - self.unjudged.len();
        let names = self.unjudged.iter().map(|&split| table.splits[split]).collect::<Vec<_>>().join(", ");
        let unjudged = || format!("{names}: cannot be judged, because there is only one condition.");
        if splits == 0 {
            return vec![unjudged()];
        }
        let on_primary = |duels: &[Duel]| duels.iter().filter(|duel| duel.metric == 0 && duel.clear()).count();
        let mut sentences = vec![format!(
            "On the primary metric, {} {}, a baseline is clearly better than the best of our models on {} of {}, and the best \
             of our models clearly better than the best baseline on {}.",
            primary.title,
            arrow(primary.better),
            on_primary(&self.lost),
            count(splits, "split"),
            on_primary(&self.won)
        )];
        sentences.push(format!(
            "Over all {} of split and metric, a baseline is at least as good in {} ({} clear), our best model is ahead in {} \
             ({} clear).",
            count(self.lost.len() + self.won.len() + self.open.len(), "combination"),
            self.lost.len(),
            clear(&self.lost),
            self.won.len(),
            clear(&self.won)
        ));
        if !self.open.is_empty() {
            let open = count(self.open.len(), "combination");
            sentences.push(format!("For {open} no baseline has a defined value: nothing is claimed there."));
        }
        if !self.unjudged.is_empty() {
            sentences.push(unjudged());
        }
        sentences
    }
}

/// What readers must know to weigh the verdict.
pub(crate) fn caveats(table: &Table<'_>) -> Vec<String> {
    let mut caveats = vec![
        "“Clear” means that the paired 95 % bootstrap interval of the difference, in which conditions, their cells and the \
         controls are drawn again, excludes zero or, where no paired difference was computed, that the two intervals do not \
         overlap; everything else is within noise."
            .to_owned(),
    ];
    let overlapping = table.splits.iter().any(|split| split.ends_with("/all")) && table.splits.len() > 1;
    if overlapping {
        caveats.push(
            "Splits overlap (the one that ends in “all” holds the conditions of the others) and metrics are correlated: the \
             combinations are not independent, and their number is no measure of evidence."
                .to_owned(),
        );
    }
    let sparse = |row: &ResultRow| row.value.is_some() && row.n_conditions < row.n_undefined;
    if table.results.results.iter().any(sparse) {
        caveats.push(
            "A method that is undefined on more than half of the conditions of a split is not compared.".to_owned(),
        );
    }
    let models = table.methods(false).count();
    if models > 1 {
        caveats.push(format!(
            "Our entry is the best of {models} models on each split and metric, chosen on the test conditions themselves and \
             without correction for choosing, which favours us; so is the baseline's."
        ));
    }
    let seeds = table.results.results.iter().map(|row| row.seeds.len()).max().unwrap_or(0);
    if seeds < 3 {
        caveats.push(format!(
            "The values rest on {}; how much they vary between trainings is not in the intervals (three seeds or more are \
             needed for a claim).",
            count(seeds, "training seed")
        ));
    }
    caveats
}

/// Whether the data are synthetic, by the data facts of the result file; `None` where they do not say.
pub(crate) fn synthetic(table: &Table<'_>) -> Option<bool> {
    let mut facts = table.results.provenance.data.iter();
    let (_, value) = facts.find(|(key, _)| key.eq_ignore_ascii_case("synthetic"))?;
    Some(!matches!(value.trim().to_ascii_lowercase().as_str(), "" | "false" | "no" | "none" | "0"))
}
