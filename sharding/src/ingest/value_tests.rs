//! Imports of values on other scales, and of counts that are not whole.

use std::path::Path;

use super::fixture::dense_h5ad;
use super::tests::{small, test_data};
use super::*;
use crate::store::{CellStore, Rounding, ValueKind};

const GENES: [&str; 3] = ["GA", "GB", "GC"];
const CELLS: usize = 24;

/// A value of the share that a gene has of its cell.
type Scaling = fn(f64) -> f64;

/// Counts of a cell, of a total that no other has.
fn counts(cell: usize) -> [f64; 3] {
    [3.0 + (cell % 5) as f64, (cell % 3) as f64, 10.0 + cell as f64]
}

fn label(cell: usize) -> &'static str {
    ["ctrl", "A"][cell % 2]
}

/// Cells of these values, a function of the share that each gene has of its cell.
fn cells(value: impl Fn(f64) -> f64) -> Vec<(&'static str, [f64; 3])> {
    let scaled = |cell: usize| {
        let total: f64 = counts(cell).iter().sum();
        counts(cell).map(|count| value(count / total))
    };
    (0..CELLS).map(|cell| (label(cell), scaled(cell))).collect()
}

fn run(folder: &Path, cells: &[(&str, [f64; 3])], options: &ImportOptions) -> Result<ImportReport, IngestError> {
    let input = folder.join("in.h5ad");
    dense_h5ad(&input, &GENES, cells);
    import(&[input], &folder.join("out.zarr"), options)
}

fn refused(cells: &[(&str, [f64; 3])], options: &ImportOptions, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let message = run(folder.path(), cells, options).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in {message}");
    }
    assert!(!folder.path().join("out.zarr").exists());
}

/// Asserts that every cell of a store is ln(1 + counts per 10,000).
fn assert_store_scale(store: &CellStore, tolerance: f64) {
    let block = store.read_rows(0..store.n_cells()).unwrap();
    for row in 0..block.n_rows() {
        let sum: f64 = block.row(row).1.iter().map(|&value| f64::from(value).exp_m1()).sum();
        assert!((sum / 1e4 - 1.0).abs() < tolerance, "cell {row} sums to {sum}");
    }
}

#[test]
fn values_on_another_scale_are_converted_exactly_and_said() {
    let want = |cell: usize, gene: usize| {
        let total: f64 = counts(cell).iter().sum();
        (1e4 * counts(cell)[gene] / total).ln_1p()
    };
    let table: [(&str, Scaling, &str); 5] = [
        ("log2", |share| (1.0 + 1e4 * share).log2(), "log2(1 + counts per 10,000)"),
        ("cpm", |share| (1e6 * share).ln_1p(), "ln(1 + counts per 1,000,000)"),
        ("median", |share| (2_345.5 * share).ln_1p(), "ln(1 + counts per 2,345.50)"),
        ("log10", |share| (1.0 + 1e6 * share).log10(), "log10(1 + counts per 1,000,000)"),
        ("linear", |share| 1e4 * share, "counts per 10,000, no logarithm taken"),
    ];
    for (name, value, said) in table {
        let folder = tempfile::tempdir().unwrap();
        let report = run(folder.path(), &cells(value), &small()).unwrap();
        assert_eq!(report.values, ValueKind::Log1p, "{name}");
        assert!(report.notices.iter().any(|n| n.contains(said) && n.contains("converted")), "{:?}", report.notices);
        let store = CellStore::open(&report.store).unwrap();
        assert_store_scale(&store, 1e-5);
        let block = store.read_rows(0..CELLS).unwrap();
        for cell in 0..CELLS {
            let (genes, values) = block.row(cell);
            for (&gene, &value) in genes.iter().zip(values) {
                assert!((f64::from(value) - want(cell, gene as usize)).abs() < 1e-5, "{name}, cell {cell}");
            }
        }
    }
}

#[test]
fn values_in_the_stores_scale_stay_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let cells = cells(|share| (1e4 * share).ln_1p());
    let report = run(folder.path(), &cells, &small()).unwrap();
    assert!(report.notices.iter().any(|n| n.contains("as the sums of its cells show")), "{:?}", report.notices);
    let block = CellStore::open(&report.store).unwrap().read_rows(0..CELLS).unwrap();
    let want: Vec<f32> = cells.iter().flat_map(|cell| cell.1).map(|value| value as f32).filter(|v| *v != 0.0).collect();
    assert_eq!(block.values, want);
}

#[test]
fn a_scale_that_the_sums_contradict_is_refused_with_the_one_they_show() {
    let log2 = cells(|share| (1.0 + 1e4 * share).log2());
    let declared = |base, target_sum| ImportOptions { values: Values::Normalised(base), target_sum, ..small() };
    refused(&log2, &declared(Base::E, None), &["declared as ln(1 + counts per 10,000)", "log2(1 + counts per 10,000)"]);
    refused(
        &log2,
        &declared(Base::Two, Some(1e6)),
        &["log2(1 + counts per 1,000,000)", "those of log2(1 + counts per 10,000)"],
    );
    let folder = tempfile::tempdir().unwrap();
    let report = run(folder.path(), &log2, &declared(Base::Two, None)).unwrap();
    let store = CellStore::open(&report.store).unwrap();
    assert_eq!(store.info().converted_from.values().collect::<Vec<_>>(), ["log2(1 + counts per 10,000)"]);
}

#[test]
fn a_part_of_the_genes_is_taken_as_declared_and_refused_where_it_sums_to_more() {
    // The third gene, which most counts are of, was left out.
    let part = |target: f64| -> Vec<_> {
        let whole = cells(|share| (target * share).ln_1p());
        whole.into_iter().map(|(label, [a, b, _])| (label, [a, b, 0.0])).collect()
    };
    refused(&part(1e6), &small(), &["ln(1 + counts per 10,000)", "more than 10,000", "--target-sum"]);
    let folder = tempfile::tempdir().unwrap();
    let options = ImportOptions { target_sum: Some(1e6), ..small() };
    let report = run(folder.path(), &part(1e6), &options).unwrap();
    assert!(report.notices.iter().any(|n| n.contains("as declared")), "{:?}", report.notices);
    let other = tempfile::tempdir().unwrap();
    let usual = run(other.path(), &part(1e4), &small()).unwrap();
    let values = |report: &ImportReport| CellStore::open(&report.store).unwrap().read_rows(0..CELLS).unwrap().values;
    for (converted, usual) in values(&report).iter().zip(values(&usual)) {
        assert!((converted - usual).abs() < 1e-5, "{converted} for {usual}");
    }
}

#[test]
fn the_made_up_files_on_other_scales_are_converted() {
    let Some(folder) = test_data("files") else { return };
    for (name, said) in [("log2", "log2(1 + counts per 10,000)"), ("log_cpm_only", "ln(1 + counts per 1,000,000)")] {
        let out = tempfile::tempdir().unwrap();
        let options = ImportOptions::default();
        let report =
            import(&[folder.join(name).with_extension("h5ad")], &out.path().join("out.zarr"), &options).unwrap();
        assert!(report.notices.iter().any(|n| n.contains(said) && n.contains("converted")), "{:?}", report.notices);
        // Genes in fewer than three cells are left out afterwards.
        assert_store_scale(&CellStore::open(&report.store).unwrap(), 2e-3);
    }
}

#[test]
fn fractional_counts_are_refused_with_the_option_that_rounds_them() {
    // Mostly whole numbers, small enough for a logarithm.
    let corrected: Vec<_> = (0..80)
        .map(|cell| (label(cell), [1.0 + (cell % 4) as f64, 2.0, if cell % 3 == 0 { 1.3 } else { 5.0 }]))
        .collect();
    refused(&corrected, &small(), &["whole numbers", "--values counts --round"]);
    refused(
        &corrected,
        &ImportOptions { values: Values::Counts, ..small() },
        &["holds 1.3", "--values counts --round"],
    );
    let Some(folder) = test_data("files") else { return };
    let out = tempfile::tempdir().unwrap();
    let import = |options| import(&[folder.join("ambient_corrected.h5ad")], &out.path().join("out.zarr"), &options);
    for values in [Values::Auto, Values::Counts] {
        let message = import(ImportOptions { values, ..ImportOptions::default() }).unwrap_err().to_string();
        assert!(message.contains("--values counts --round"), "{message}");
    }
}

#[test]
fn rounded_counts_lie_beside_their_values_and_do_not_depend_on_order_or_blocks() {
    let fractional = |cell: usize| counts(cell).map(|count| count + 0.25 * (cell % 4) as f64 - 0.5);
    let cells: Vec<_> = (0..CELLS).map(|cell| (label(cell), fractional(cell).map(|value| value.max(0.0)))).collect();
    let rounded = |round, shuffle| {
        let folder = tempfile::tempdir().unwrap();
        let options = ImportOptions { values: Values::Counts, round: Some(round), shuffle, ..small() };
        let report = run(folder.path(), &cells, &options).unwrap();
        assert_eq!(report.values, ValueKind::Counts);
        assert!(report.notices.iter().any(|n| n.contains("made whole by rounding")), "{:?}", report.notices);
        let store = CellStore::open(&report.store).unwrap();
        assert_eq!(store.info().rounding, Some(round));
        let names = store.obs().unwrap().index.clone();
        let block = store.read_rows(0..CELLS).unwrap();
        assert!(block.values.iter().all(|value| value.fract() == 0.0 && *value > 0.0));
        let rows = (0..CELLS).map(|row| (block.row(row).0.to_vec(), block.row(row).1.to_vec()));
        names.into_iter().zip(rows).collect::<std::collections::BTreeMap<_, _>>()
    };
    let plain = rounded(Rounding::Stochastic, None);
    assert_eq!(plain, rounded(Rounding::Stochastic, Some(3)));
    let nearest = rounded(Rounding::Nearest, None);
    assert_ne!(plain, nearest);
    for (cell, (_, want)) in cells.iter().enumerate() {
        for (found, limit) in [(&plain, 1.0), (&nearest, 0.5)] {
            let (genes, values) = &found[&format!("c{cell}")];
            let value = |gene: usize| genes.iter().position(|&g| g as usize == gene).map_or(0.0, |at| values[at]);
            assert!((0..3).all(|gene| (f64::from(value(gene)) - want[gene]).abs() <= limit), "cell {cell}");
        }
    }
}

#[test]
fn the_made_up_file_of_corrected_counts_is_imported_rounded() {
    let Some(folder) = test_data("files") else { return };
    let input = folder.join("ambient_corrected.h5ad");
    let source = open(&input).unwrap();
    for round in [Rounding::Stochastic, Rounding::Nearest] {
        let out = tempfile::tempdir().unwrap();
        let options = ImportOptions { values: Values::Counts, round: Some(round), ..ImportOptions::default() };
        let report = import(std::slice::from_ref(&input), &out.path().join("out.zarr"), &options).unwrap();
        assert_eq!((report.cells, report.controls, report.values), (240, 80, ValueKind::Counts));
        let values = source.read_rows(&MatrixPath::X, 0..240).unwrap().values.into_iter().map(f64::from);
        let want: f64 = match round {
            Rounding::Stochastic => values.sum(),
            Rounding::Nearest => values.map(f64::round_ties_even).sum(),
        };
        let store = CellStore::open(&report.store).unwrap();
        let got: f64 = store.read_rows(0..240).unwrap().values.into_iter().map(f64::from).sum();
        assert!((got / want - 1.0).abs() < 5e-3, "{got} for {want}");
        assert_eq!(store.info().rounding, Some(round));
    }
}
