//! Highly variable genes, fitted on the training fold.
//!
//! Guarantee: no cell outside the training fold has any influence. Exactly the number asked for comes back, plus
//! the target genes of all perturbations that are not among them; equal scores go to the lower column, and genes
//! without a score come last. Memory is a few numbers a gene; threads change nothing.

use std::collections::HashMap;

use super::error::GenesError;
use super::moments::Moments;
use super::options::{Flavour, HvgOptions};
use super::score::{ClippedSquares, Expected, seurat};
use super::selection::{GeneSelection, SelectedGene};
use crate::csr::Csr;
use crate::labels::Labels;
use crate::split::{FittedOn, Fold, Split};
use crate::store::{CellStore, ValueKind};
use crate::sweep::{Rows, SweepError, sweep};

/// Total that the counts of a cell are scaled to before the logarithm.
const TARGET_SUM: f64 = 1e4;

/// The most variable genes of the training fold of `split`, and all targets of perturbations.
///
/// # Errors
/// When the split belongs to another store, the flavour does not fit the values, there are fewer genes than asked
/// for or fewer than two cells, or a block cannot be read.
pub fn hvg(store: &CellStore, split: &Split, options: HvgOptions) -> Result<GeneSelection, GenesError> {
    let (path, kind) = (store.path(), store.info().value_kind);
    let fitted_on = FittedOn::train_of(store, split)?;
    if options.n == 0 || options.n > store.n_genes() {
        return Err(GenesError::Number { store: path.to_owned(), n: options.n, genes: store.n_genes() });
    }
    if options.flavour == Flavour::SeuratV3 && kind != ValueKind::Counts {
        return Err(GenesError::NeedsCounts { store: path.to_owned(), flavour: options.flavour });
    }
    let rows = split.rows(Fold::Train);
    if rows.len() < 2 {
        return Err(GenesError::TooFewCells { store: path.to_owned(), cells: rows.len() as u64 });
    }
    let scores = scores(store, &rows, kind, options.flavour)?;
    let (genes, absent_targets) = choose(&scores, options.n, store.genes(), store.labels());
    Ok(GeneSelection::new(options, fitted_on, genes, absent_targets))
}

/// The score of every gene over the cells `rows`; NaN where there is none.
pub(super) fn scores<R: Rows>(
    reader: &R,
    rows: &[u64],
    kind: ValueKind,
    flavour: Flavour,
) -> Result<Vec<f64>, SweepError> {
    match flavour {
        Flavour::Seurat => Ok(seurat(&moments(reader, rows, |cells| scaled(cells, kind))?)),
        Flavour::LogVariance => Ok(moments(reader, rows, |cells| logged(cells, kind))?.variance()),
        Flavour::SeuratV3 => {
            let expected = Expected::of(&moments(reader, rows, plain)?);
            let mut squares = ClippedSquares::new(reader.n_genes());
            let block = |cells: &Csr| {
                let mut squares = ClippedSquares::new(cells.n_cols);
                squares.push_rows(&expected, cells.n_rows(), &cells.indices, &plain(cells));
                squares
            };
            sweep(reader, rows, block, |block| squares.merge(&block))?;
            Ok(squares.scores(&expected))
        }
    }
}

fn moments<R: Rows>(reader: &R, rows: &[u64], values: impl Fn(&Csr) -> Vec<f64> + Sync) -> Result<Moments, SweepError> {
    let mut all = Moments::new(reader.n_genes());
    let block = |cells: &Csr| {
        let mut moments = Moments::new(cells.n_cols);
        moments.push_rows(cells.n_rows(), &cells.indices, &values(cells));
        moments
    };
    sweep(reader, rows, block, |block| all.merge(&block))?;
    Ok(all)
}

fn plain(cells: &Csr) -> Vec<f64> {
    cells.values.iter().map(|&value| f64::from(value)).collect()
}

/// Counts per 10,000 of every stored value.
fn scaled(cells: &Csr, kind: ValueKind) -> Vec<f64> {
    if kind == ValueKind::Log1p {
        return cells.values.iter().map(|&value| f64::from(value).exp_m1()).collect();
    }
    let mut scaled = plain(cells);
    for row in cells.indptr.windows(2) {
        let row = &mut scaled[row[0]..row[1]];
        let total: f64 = row.iter().sum();
        if total > 0.0 {
            for value in row {
                *value *= TARGET_SUM / total;
            }
        }
    }
    scaled
}

fn logged(cells: &Csr, kind: ValueKind) -> Vec<f64> {
    match kind {
        ValueKind::Log1p => plain(cells),
        ValueKind::Counts => scaled(cells, kind).into_iter().map(f64::ln_1p).collect(),
    }
}

/// The `n` genes of highest score and all target genes, in the order of the columns; and targets without a gene.
fn choose(scores: &[f64], n: usize, names: &[String], labels: &Labels) -> (Vec<SelectedGene>, Vec<String>) {
    // NaN sorts below everything that is a number.
    let key = |gene: usize| if scores[gene].is_nan() { f64::NEG_INFINITY } else { scores[gene] };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)).then(a.cmp(&b)));
    let mut rank = vec![None; scores.len()];
    order.iter().take(n).enumerate().for_each(|(place, &gene)| rank[gene] = Some(place));

    let column: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut targets: Vec<&String> = labels.perturbations.iter().flat_map(|p| &p.targets).collect();
    targets.sort_unstable();
    targets.dedup();
    let (present, absent): (Vec<&String>, Vec<&String>) =
        targets.into_iter().partition(|target| column.contains_key(target.as_str()));
    let mut is_target = vec![false; scores.len()];
    for target in present {
        is_target[column[target.as_str()]] = true;
    }

    let chosen = (0..scores.len()).filter(|&gene| rank[gene].is_some() || is_target[gene]);
    let genes = chosen.map(|gene| SelectedGene {
        column: gene as u32,
        name: names[gene].clone(),
        rank: rank[gene],
        score: (!scores[gene].is_nan()).then_some(scores[gene]),
        target: is_target[gene],
    });
    (genes.collect(), absent.into_iter().cloned().collect())
}
