//! Quality control: which cells and genes stay, and why the others went.
//!
//! Guarantee: rules apply in the order of [`QcReport`]; each cell is counted under the first rule it fails, so
//! initial − Σ dropped = final for cells, genes and perturbations alike.

use super::error::IngestError;
use super::rules::{Dropped, QcReport, QcRules, Tally};

/// Dropping more than this share of the cells is taken for a mistake.
const ALMOST_ALL: f64 = 0.9;

/// Measurements of every cell, in the order they were read, and of every gene.
pub(super) struct Metrics {
    rules: QcRules,
    /// Expressed genes of every cell.
    pub(super) n_genes: Vec<u32>,
    /// Percentage of mitochondrial counts of every cell.
    pub(super) pct_mt: Vec<f32>,
    /// Rule that drops a cell.
    verdict: Vec<Verdict>,
    /// Cells not dropped so far that express a gene.
    cells_of_gene: Vec<u32>,
}

/// Whether a cell takes part, by its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has a label, or needs none.
    Labelled,
    /// It has none.
    Unlabelled,
    /// It has one whose cells are left out.
    Excluded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    Excluded,
    Unlabelled,
    MinGenes,
    MaxPctMt,
    MinCellsPerPerturbation,
    MaxTargets,
}

const CELL_RULES: [(Verdict, &str, &str); 6] = [
    (Verdict::Excluded, "excluded label", "--exclude"),
    (Verdict::Unlabelled, "no perturbation label", "--drop-unlabelled"),
    (Verdict::MinGenes, "too few expressed genes", "--min-genes"),
    (Verdict::MaxPctMt, "too many mitochondrial counts", "--max-pct-mt"),
    (Verdict::MinCellsPerPerturbation, "perturbation with too few cells", "--min-cells-per-perturbation"),
    (Verdict::MaxTargets, "too many targets", "--max-targets"),
];

/// What stays.
pub(super) struct Kept {
    /// Cells, ascending.
    pub(super) cells: Vec<usize>,
    /// Genes, ascending.
    pub(super) genes: Vec<usize>,
    pub(super) report: QcReport,
}

impl Metrics {
    pub(super) fn new(rules: QcRules, n_genes: usize) -> Self {
        Self { rules, n_genes: Vec::new(), pct_mt: Vec::new(), verdict: Vec::new(), cells_of_gene: vec![0; n_genes] }
    }

    /// Takes the next cell: its genes and amounts (counts, or what stands for them).
    pub(super) fn push(
        &mut self,
        genes: &[u32],
        amounts: impl Iterator<Item = f64>,
        is_mt: &[bool],
        standing: Standing,
    ) {
        let (mut expressed, mut total, mut mitochondrial) = (0, 0.0, 0.0);
        for (&gene, amount) in genes.iter().zip(amounts) {
            expressed += 1;
            total += amount;
            if is_mt[gene as usize] {
                mitochondrial += amount;
            }
        }
        let pct_mt = if total > 0.0 { 100.0 * mitochondrial / total } else { 0.0 };
        let verdict = if standing == Standing::Excluded {
            Verdict::Excluded
        } else if standing == Standing::Unlabelled {
            Verdict::Unlabelled
        } else if expressed < self.rules.min_genes {
            Verdict::MinGenes
        } else if self.rules.max_pct_mt.is_some_and(|limit| pct_mt >= limit) {
            Verdict::MaxPctMt
        } else {
            Verdict::Stays
        };
        if verdict == Verdict::Stays {
            for &gene in genes {
                self.cells_of_gene[gene as usize] += 1;
            }
        }
        self.n_genes.push(expressed as u32);
        self.pct_mt.push(pct_mt as f32);
        self.verdict.push(verdict);
    }

    /// Applies the rules on genes and perturbations. `perturbation` codes every cell, 0 being the control;
    /// `n_targets` has one entry per code.
    pub(super) fn decide(mut self, perturbation: &[u32], n_targets: &[usize]) -> Result<(Self, Kept), IngestError> {
        let initial = present(perturbation, &self.verdict, n_targets.len(), |v| v != Verdict::Unlabelled);
        let sizes = self.sizes(perturbation, n_targets.len());
        let survived = count_present(&sizes);
        let rules = &self.rules;
        for (verdict, &code) in self.verdict.iter_mut().zip(perturbation) {
            let small = code != 0 && sizes[code as usize] < rules.min_cells_per_perturbation;
            if *verdict == Verdict::Stays && small {
                *verdict = Verdict::MinCellsPerPerturbation;
            }
        }
        let large_enough = count_present(&self.sizes(perturbation, n_targets.len()));
        for (verdict, &code) in self.verdict.iter_mut().zip(perturbation) {
            if *verdict == Verdict::Stays && self.rules.max_targets.is_some_and(|most| n_targets[code as usize] > most)
            {
                *verdict = Verdict::MaxTargets;
            }
        }
        let last = count_present(&self.sizes(perturbation, n_targets.len()));
        let dropped = |rule, option, count| Dropped { rule, option, count };
        let perturbations = Tally {
            initial,
            dropped: vec![
                dropped("no cell left by the rules on cells", "--min-genes, --max-pct-mt", initial - survived),
                dropped("too few cells", "--min-cells-per-perturbation", survived - large_enough),
                dropped("too many targets", "--max-targets", large_enough - last),
            ],
            remaining: last,
        };
        let cells: Vec<usize> = (0..self.verdict.len()).filter(|&at| self.verdict[at] == Verdict::Stays).collect();
        let least = self.rules.min_cells_per_gene;
        let genes: Vec<usize> =
            (0..self.cells_of_gene.len()).filter(|&at| self.cells_of_gene[at] as usize >= least).collect();
        let report = QcReport {
            rules: self.rules.clone(),
            cells: self.cell_tally(cells.len()),
            genes: Tally {
                initial: self.cells_of_gene.len(),
                dropped: vec![dropped(
                    "expressed in too few cells",
                    "--min-cells-per-gene",
                    self.cells_of_gene.len() - genes.len(),
                )],
                remaining: genes.len(),
            },
            perturbations,
        };
        refuse_ruin("cells", &report.cells, ALMOST_ALL)?;
        refuse_ruin("genes", &report.genes, 1.0)?;
        Ok((self, Kept { cells, genes, report }))
    }

    fn cell_tally(&self, remaining: usize) -> Tally {
        let count = |verdict| self.verdict.iter().filter(|&&v| v == verdict).count();
        let dropped =
            CELL_RULES.iter().map(|&(verdict, rule, option)| Dropped { rule, option, count: count(verdict) }).collect();
        Tally { initial: self.verdict.len(), dropped, remaining }
    }

    /// Staying cells of every perturbation.
    fn sizes(&self, perturbation: &[u32], n: usize) -> Vec<usize> {
        let mut sizes = vec![0; n];
        for (&code, _) in perturbation.iter().zip(&self.verdict).filter(|(_, v)| **v == Verdict::Stays) {
            sizes[code as usize] += 1;
        }
        sizes
    }
}

/// Perturbations, without the control, that have a cell.
fn count_present(sizes: &[usize]) -> usize {
    sizes.iter().skip(1).filter(|&&size| size > 0).count()
}

fn present(perturbation: &[u32], verdict: &[Verdict], n: usize, counts: impl Fn(Verdict) -> bool) -> usize {
    let mut sizes = vec![0; n];
    for (&code, _) in perturbation.iter().zip(verdict).filter(|(_, v)| counts(**v)) {
        sizes[code as usize] += 1;
    }
    count_present(&sizes)
}

/// Refuses to go on when more than a share, or everything, would be dropped.
fn refuse_ruin(what: &'static str, tally: &Tally, share: f64) -> Result<(), IngestError> {
    let dropped = tally.initial - tally.remaining;
    if tally.remaining > 0 && dropped as f64 <= share * tally.initial as f64 {
        return Ok(());
    }
    let worst = tally.dropped.iter().max_by_key(|d| d.count);
    Err(IngestError::DropsAlmostAll {
        what,
        dropped,
        initial: tally.initial,
        rule: worst.map_or_else(|| "empty input".into(), |d| d.rule.to_owned()),
        option: worst.map_or("", |d| d.option),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rules::QcOptions;
    use super::*;
    use crate::store::ValueKind;

    fn rules() -> QcRules {
        let options = QcOptions {
            min_genes: Some(2),
            max_pct_mt: Some(50.0),
            min_cells_per_gene: Some(2),
            min_cells_per_perturbation: Some(2),
            max_targets: Some(2),
        };
        options.rules(ValueKind::Counts, 3)
    }

    fn standing(labelled: bool) -> Standing {
        if labelled { Standing::Labelled } else { Standing::Unlabelled }
    }

    fn reconciles(tally: &Tally) -> bool {
        tally.initial == tally.remaining + tally.dropped.iter().map(|d| d.count).sum::<usize>()
    }

    #[test]
    fn planted_bad_cells_go_by_their_rule_and_the_counts_reconcile() {
        // Genes: 0 mitochondrial, 1, 2, 3. Codes: 0 control, 1 and 2 singles, 3 a triple.
        let is_mt = [true, false, false, false];
        let mut metrics = Metrics::new(rules(), 4);
        let cells: [(&[u32], &[f64], bool, u32); 9] = [
            (&[1, 2], &[1.0, 1.0], true, 0),
            (&[1, 2], &[1.0, 1.0], true, 1),
            (&[1, 2], &[1.0, 1.0], true, 1),
            (&[1], &[9.0], true, 1),
            (&[0, 3], &[1.0, 1.0], true, 2),
            (&[1, 2], &[1.0, 1.0], true, 2),
            (&[1, 2], &[1.0, 1.0], true, 3),
            (&[1, 3], &[1.0, 1.0], true, 3),
            (&[1, 2], &[1.0, 1.0], false, 0),
        ];
        for (genes, amounts, labelled, _) in cells {
            metrics.push(genes, amounts.iter().copied(), &is_mt, standing(labelled));
        }
        let codes: Vec<u32> = cells.iter().map(|c| c.3).collect();
        let (metrics, kept) = metrics.decide(&codes, &[0, 1, 1, 3]).unwrap();
        assert_eq!(kept.cells, [0, 1, 2]);
        assert_eq!(kept.genes, [1, 2]);
        assert_eq!((metrics.n_genes[3], metrics.pct_mt[4]), (1, 50.0));
        let dropped: Vec<usize> = kept.report.cells.dropped.iter().map(|d| d.count).collect();
        assert_eq!(dropped, [0, 1, 1, 1, 1, 2]);
        let dropped: Vec<usize> = kept.report.perturbations.dropped.iter().map(|d| d.count).collect();
        assert_eq!((kept.report.perturbations.initial, dropped), (3, vec![0, 1, 1]));
        let report = &kept.report;
        assert!([&report.cells, &report.genes, &report.perturbations].into_iter().all(reconciles));
    }

    #[test]
    fn dropping_almost_all_cells_is_refused_with_the_rule_and_its_option() {
        let mut metrics =
            Metrics::new(QcOptions { min_genes: Some(5), ..QcOptions::default() }.rules(ValueKind::Counts, 2), 2);
        for _ in 0..20 {
            metrics.push(&[0, 1], [1.0, 1.0].into_iter(), &[false, false], Standing::Labelled);
        }
        let message = metrics.decide(&[0; 20], &[0]).err().unwrap().to_string();
        assert!(message.contains("20 of 20 cells") && message.contains("--min-genes"), "{message}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn counts_reconcile_for_any_data(cells in proptest::collection::vec((proptest::bits::u8::masked(0b1111), 0_u32..4, any::<bool>()), 1..60)) {
            let mut metrics = Metrics::new(rules(), 4);
            for (mask, _, labelled) in &cells {
                let genes: Vec<u32> = (0..4).filter(|gene| mask & (1 << gene) != 0).collect();
                metrics.push(&genes, genes.iter().map(|_| 1.0), &[true, false, false, false], standing(*labelled));
            }
            let codes: Vec<u32> = cells.iter().map(|c| c.1).collect();
            if let Ok((_, kept)) = metrics.decide(&codes, &[0, 1, 2, 3]) {
                prop_assert!([&kept.report.cells, &kept.report.genes, &kept.report.perturbations].into_iter().all(reconciles));
                prop_assert_eq!(kept.cells.len(), kept.report.cells.remaining);
            }
        }
    }
}
