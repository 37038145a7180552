//! The rules of quality control and what is reported of them.

use serde::Serialize;

use crate::store::ValueKind;

/// From this many measured genes on, counts are taken for a whole transcriptome.
const WHOLE_TRANSCRIPTOME: usize = 5_000;

/// Rules to set; what is `None` takes the default for the kind of data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QcOptions {
    /// Cells need this many expressed genes (200; small panels and log1p data: 1).
    pub min_genes: Option<usize>,
    /// Cells at or above this percentage of mitochondrial counts go (20; small panels and log1p data: no rule). Above 100 there is no rule.
    pub max_pct_mt: Option<f64>,
    /// Genes need this many cells that express them (3).
    pub min_cells_per_gene: Option<usize>,
    /// Perturbations need this many cells; controls are exempt (30).
    pub min_cells_per_perturbation: Option<usize>,
    /// Cells with more targets than this go (no rule).
    pub max_targets: Option<usize>,
}

/// The rules in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QcRules {
    /// Which defaults apply.
    pub defaults: &'static str,
    /// Least number of expressed genes of a cell.
    pub min_genes: usize,
    /// Percentage of mitochondrial counts from which on a cell goes.
    pub max_pct_mt: Option<f64>,
    /// Least number of cells that express a gene.
    pub min_cells_per_gene: usize,
    /// Least number of cells of a perturbation.
    pub min_cells_per_perturbation: usize,
    /// Most targets of a cell.
    pub max_targets: Option<usize>,
}

impl QcOptions {
    /// The rules for cells that have been through quality control: those that are asked for.
    pub(crate) fn rules_again(&self) -> QcRules {
        QcRules {
            defaults: "cell stores: no rule but those given",
            min_genes: self.min_genes.unwrap_or(0),
            max_pct_mt: self.max_pct_mt.filter(|&limit| limit <= 100.0),
            min_cells_per_gene: self.min_cells_per_gene.unwrap_or(0),
            min_cells_per_perturbation: self.min_cells_per_perturbation.unwrap_or(0),
            max_targets: self.max_targets,
        }
    }

    /// The rules for data of this kind and width.
    pub fn rules(&self, kind: ValueKind, n_genes: usize) -> QcRules {
        let whole = kind == ValueKind::Counts && n_genes >= WHOLE_TRANSCRIPTOME;
        let defaults = match (whole, kind) {
            (true, _) => "whole-transcriptome counts",
            (false, ValueKind::Counts) => "counts of a small panel: no mitochondrial rule",
            (false, ValueKind::Log1p) => "log1p values: no mitochondrial rule",
        };
        QcRules {
            defaults,
            min_genes: self.min_genes.unwrap_or(if whole { 200 } else { 1 }),
            max_pct_mt: self.max_pct_mt.or(whole.then_some(20.0)).filter(|&limit| limit <= 100.0),
            min_cells_per_gene: self.min_cells_per_gene.unwrap_or(3),
            min_cells_per_perturbation: self.min_cells_per_perturbation.unwrap_or(30),
            max_targets: self.max_targets,
        }
    }
}

/// How many went by one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The rule.
    pub rule: &'static str,
    /// The option that sets it.
    pub option: &'static str,
    /// How many it dropped.
    pub count: usize,
}

/// A count before and after, with what happened between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Before quality control.
    pub initial: usize,
    /// Dropped, rule by rule.
    pub dropped: Vec<Dropped>,
    /// After quality control.
    #[serde(rename = "final")]
    pub remaining: usize,
}

/// What quality control did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QcReport {
    /// The rules in force.
    pub rules: QcRules,
    /// Cells.
    pub cells: Tally,
    /// Genes.
    pub genes: Tally,
    /// Perturbations, the control not counted.
    pub perturbations: Tally,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_the_kind_of_data_and_options_override_them() {
        let whole = QcOptions::default().rules(ValueKind::Counts, 20_000);
        assert_eq!((whole.min_genes, whole.max_pct_mt), (200, Some(20.0)));
        let panel = QcOptions::default().rules(ValueKind::Counts, 300);
        assert_eq!((panel.min_genes, panel.max_pct_mt, panel.min_cells_per_perturbation), (1, None, 30));
        let log = QcOptions { max_pct_mt: Some(101.0), ..QcOptions::default() }.rules(ValueKind::Log1p, 20_000);
        assert_eq!((log.min_genes, log.max_pct_mt, log.min_cells_per_gene), (1, None, 3));
    }
}
