use std::path::{Path, PathBuf};

use super::fixture::{array, dense_h5ad, table};
use super::*;
use crate::anndata::AnnDataZarr;
use crate::frame::ColumnData;
use crate::store::{CellStore, ValueKind};

const GENES: [&str; 3] = ["GA", "GB", "GC"];

/// Options for inputs of a few cells.
pub(super) fn small() -> ImportOptions {
    let qc = QcOptions { min_cells_per_gene: Some(1), min_cells_per_perturbation: Some(1), ..QcOptions::default() };
    ImportOptions { qc, ..ImportOptions::default() }
}

fn run(folder: &Path, cells: &[(&str, [f64; 3])], options: &ImportOptions) -> Result<ImportReport, IngestError> {
    let (input, out) = (folder.join("in.h5ad"), folder.join("out.zarr"));
    dense_h5ad(&input, &GENES, cells);
    import(&[input], &out, options)
}

fn refusal(cells: &[(&str, [f64; 3])], options: &ImportOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    let message = run(folder.path(), cells, options).unwrap_err().to_string();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["in.h5ad"], "nothing half-written stays behind");
    message
}

#[test]
fn counts_go_through_and_one_condition_has_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let cells = [
        ("ctrl", [1.0, 0.0, 2.0]),
        ("A+ctrl", [0.0, 1.0, 0.0]),
        ("ctrl+A", [3.0, 0.0, 0.0]),
        ("B+A", [1.0, 1.0, 0.0]),
        ("A", [0.0, 0.0, 0.0]),
    ];
    let report = run(folder.path(), &cells, &small()).unwrap();
    assert_eq!((report.cells, report.perturbations, report.controls), (4, 2, 1));
    assert_eq!((report.values, report.qc.cells.remaining), (ValueKind::Counts, 4));
    assert_eq!(report.inputs[0].columns.perturbation.as_deref(), Some("perturbation"));
    assert_eq!(report.obsm, ["protein", "square"]);
    let store = CellStore::open(&folder.path().join("out.zarr")).unwrap();
    let names: Vec<&str> = store.labels().perturbations.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["control", "A", "A+B"]);
    assert_eq!(store.labels().perturbation, [0, 1, 1, 2]);
    assert_eq!(store.read_rows(2..3).unwrap().row(0), (&[0][..], &[3.0][..]));
    assert_eq!(store.library_size().iter().map(|v| *v as u32).collect::<Vec<_>>(), [3, 1, 3, 2]);
    assert_eq!(store.obs().unwrap().index, ["c0", "c1", "c2", "c3"]);
}

#[test]
fn a_shuffled_store_holds_the_same_cells_with_all_that_is_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let cells: Vec<(&str, [f64; 3])> =
        (0..60).map(|cell| (["ctrl", "A", "B"][cell / 20], [cell as f64 + 1.0, (cell % 3) as f64, 1.0])).collect();
    let input = folder.path().join("in.h5ad");
    dense_h5ad(&input, &GENES, &cells);
    let load = |name: &str, shuffle| {
        let out = folder.path().join(name);
        let report = import(&[input.clone(), input.clone()], &out, &ImportOptions { shuffle, ..small() }).unwrap();
        assert_eq!((report.cells, report.obsm), (120, vec!["protein".to_owned(), "square".to_owned()]));
        let store = CellStore::open(&out).unwrap();
        let source = AnnDataZarr::open(&out).unwrap();
        (
            store.read_rows(0..120).unwrap(),
            store.labels().clone(),
            store.obs().unwrap().clone(),
            source.read_dense("square").unwrap().1,
        )
    };
    let plain = load("plain.zarr", None);
    let shuffled = load("shuffled.zarr", Some(5));
    assert_eq!(shuffled, load("again.zarr", Some(5)), "the seed decides");
    let Some(ColumnData::Int(rows)) = shuffled.2.column("source_row") else { panic!("no source_row") };
    let mut sorted = rows.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..120).collect::<Vec<_>>());
    assert!(rows.windows(2).filter(|pair| pair[0] < pair[1]).count() < 90, "{rows:?}");
    let width = plain.3.len() / 120;
    for (at, &row) in rows.iter().enumerate() {
        let row = row as usize;
        assert_eq!(shuffled.0.row(at), plain.0.row(row));
        assert_eq!(shuffled.2.index[at], plain.2.index[row]);
        assert_eq!(shuffled.3[at * width..][..width], plain.3[row * width..][..width]);
        let name = |labels: &crate::labels::Labels, at: usize| {
            labels.perturbations[labels.perturbation[at] as usize].name.clone()
        };
        assert_eq!(name(&shuffled.1, at), name(&plain.1, row));
    }
}

#[test]
fn names_of_proteins_come_along_and_inputs_that_disagree_on_them_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let input = |name: &str, columns: [&str; 2]| {
        let path = folder.path().join(name);
        dense_h5ad(&path, &GENES, &[("ctrl", [1.0, 2.0, 3.0]), ("A", [4.0, 5.0, 6.0])]);
        let obsm = hdf5::File::open_rw(&path).unwrap().group("obsm").unwrap();
        let table = table(&obsm, "adt", &["c0", "c1"], &columns);
        array(&table, columns[0], &[1.0, 2.0]);
        array(&table, columns[1], &[3_i64, 4]);
        path
    };
    let one = input("one.h5ad", ["CD4", "CD8"]);
    let out = folder.path().join("one.zarr");
    import(std::slice::from_ref(&one), &out, &small()).unwrap();
    // And through a store, whose obsm is a matrix: names are in uns.
    let written = AnnDataZarr::open(&out).unwrap();
    assert_eq!(written.read_dense("adt").unwrap(), (2, vec![1.0, 3.0, 2.0, 4.0]));
    let names = std::fs::read_dir(out.join("uns")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().any(|name| name == "adt_names"));
    let both = [one, input("two.h5ad", ["CD4", "CD3"])];
    let report = import(&both, &folder.path().join("both.zarr"), &small()).unwrap();
    assert!(!report.obsm.contains(&"adt".to_owned()));
    assert!(report.notices.iter().any(|notice| notice.contains("obsm/adt is left out")), "{:?}", report.notices);
}

#[test]
fn library_size_counts_the_genes_that_quality_control_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = small();
    options.qc.min_cells_per_gene = Some(2);
    let report = run(folder.path(), &[("ctrl", [1.0, 5.0, 2.0]), ("A", [1.0, 0.0, 4.0])], &options).unwrap();
    assert_eq!((report.genes, report.qc.genes.dropped[0].count), (2, 1));
    let store = CellStore::open(&report.store).unwrap();
    assert_eq!(store.genes(), ["GA", "GC"]);
    assert_eq!(store.library_size().iter().map(|v| *v as u32).collect::<Vec<_>>(), [3, 5]);
}

#[test]
fn values_that_are_not_what_is_asked_for_are_named() {
    let counts = ImportOptions { values: Values::Counts, ..small() };
    let message = refusal(&[("ctrl", [1.0, 0.0, 2.0]), ("A", [0.0, 1.5, 0.0])], &counts);
    assert!(message.contains("'c1' (row 1)") && message.contains("'GB' holds 1.5"), "{message}");
    assert!(message.contains("whole number") && message.contains("--values log1p"), "{message}");
    let message = refusal(&[("ctrl", [1.0, -0.5, 2.0])], &small());
    assert!(message.contains("look scaled") && message.contains("-0.5"), "{message}");
    let message = refusal(&[("ctrl", [1.0, 0.5, 900.0])], &small());
    assert!(message.contains("holds 900") && message.contains("neither counts nor log1p"), "{message}");
    let message = refusal(&[("ctrl", [1.0, f64::NAN, 2.0])], &small());
    assert!(message.contains("'GB' holds NaN"), "{message}");
    let log = ImportOptions { values: Values::Normalised(Base::E), ..small() };
    assert!(refusal(&[("ctrl", [1.0, 1.0, 2.0])], &log).contains("--values counts"));
}

#[test]
fn log_values_whose_sums_cannot_tell_their_scale_are_taken_as_is_usual_with_a_notice() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(folder.path(), &[("ctrl", [1.5, 0.0, 2.0]), ("A", [0.0, 1.5, 0.0])], &small()).unwrap();
    assert_eq!(report.values, ValueKind::Log1p);
    let said = |part: &str| report.notices.iter().any(|notice| notice.contains(part));
    assert!(said("ln(1 + counts per 10,000)") && said("cannot tell"), "{:?}", report.notices);
}

#[test]
fn a_store_without_controls_is_refused_with_the_labels_there_are() {
    let cells = [("WT", [1.0, 0.0, 2.0]), ("A", [0.0, 1.0, 0.0]), ("A", [0.0, 1.0, 0.0])];
    let message = refusal(&cells, &small());
    assert!(message.contains("A (2), WT (1)") && message.contains("--control"), "{message}");
    let message = refusal(&cells, &ImportOptions { control: vec!["NT".into()], ..small() });
    assert!(message.contains("no cell is labelled NT"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let options = ImportOptions { control: vec!["wt".into()], ..small() };
    assert_eq!(run(folder.path(), &cells, &options).unwrap().controls, 1);
}

#[test]
fn cells_without_a_label_are_refused_or_left_out_as_told() {
    let cells = [("ctrl", [1.0, 0.0, 2.0]), ("", [0.0, 1.0, 0.0]), ("A", [0.0, 1.0, 0.0])];
    let message = refusal(&cells, &small());
    assert!(message.contains("1 cells have no label") && message.contains("'c1'"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let report = run(folder.path(), &cells, &ImportOptions { drop_unlabelled: true, ..small() }).unwrap();
    let dropped = report.qc.cells.dropped.iter().find(|dropped| dropped.option == "--drop-unlabelled").unwrap();
    assert_eq!((report.cells, dropped.count), (2, 1));
}

#[test]
fn repeated_gene_names_are_refused_or_numbered_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.h5ad");
    dense_h5ad(&input, &["GA", "GB", "GA"], &[("ctrl", [1.0, 1.0, 2.0]), ("A", [1.0, 1.0, 2.0])]);
    let out = folder.path().join("out.zarr");
    let message = import(std::slice::from_ref(&input), &out, &small()).unwrap_err().to_string();
    assert!(message.contains("(GA …)") && message.contains("--make-unique"), "{message}");
    import(&[input], &out, &ImportOptions { make_unique: true, ..small() }).unwrap();
    assert_eq!(CellStore::open(&out).unwrap().genes(), ["GA", "GB", "GA-1"]);
}

#[test]
fn several_inputs_are_joined_on_the_genes_they_share() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.h5ad"), folder.path().join("two.h5ad"));
    dense_h5ad(&one, &["GA", "GB", "GC"], &[("ctrl", [1.0, 2.0, 3.0])]);
    dense_h5ad(&two, &["GD", "GC", "GA"], &[("A", [7.0, 8.0, 9.0]), ("ctrl", [0.0, 0.0, 1.0])]);
    let report = import(&[one, two], &folder.path().join("out.zarr"), &small()).unwrap();
    assert!(report.notices.iter().any(|n| n.contains("2 inputs: 2 of 3 genes")), "{:?}", report.notices);
    let store = CellStore::open(&report.store).unwrap();
    assert_eq!(store.genes(), ["GA", "GC"]);
    assert_eq!(store.read_rows(0..3).unwrap().values, [1.0, 3.0, 9.0, 8.0, 1.0]);
    assert_eq!(store.labels().batches, ["one", "two"]);
    assert_eq!(store.obs().unwrap().index, ["c0", "c0", "c1"]);
    assert!(store.obs().unwrap().column("dataset").is_some());
    assert_eq!(store.read_obsm("protein", 1..2).unwrap(), (3, vec![7.0, 8.0, 9.0]));
    assert_eq!(report.obsm, ["protein"]);
    assert!(report.notices.iter().any(|n| n.contains("obsm/square is left out")), "{:?}", report.notices);
}

#[test]
fn a_zarr_store_imports_to_the_same_cells() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), &[("ctrl", [1.0, 0.0, 2.0]), ("A", [0.0, 1.0, 0.0])], &small()).unwrap();
    let again = import(std::slice::from_ref(&first.store), &folder.path().join("again.zarr"), &small()).unwrap();
    let (first, again) = (CellStore::open(&first.store).unwrap(), CellStore::open(&again.store).unwrap());
    assert_eq!(first.read_rows(0..2).unwrap(), again.read_rows(0..2).unwrap());
    assert_eq!(first.labels(), again.labels());
    assert_eq!(first.data_hash(), again.data_hash());
}

/// All of a store that an import of it must bring back.
fn content(
    store: &CellStore,
) -> (Vec<String>, crate::labels::Labels, crate::frame::Frame, crate::frame::Frame, String) {
    let frames = (store.obs().unwrap().clone(), store.var().unwrap().clone());
    (store.genes().to_vec(), store.labels().clone(), frames.0, frames.1, store.data_hash().to_owned())
}

#[test]
fn a_store_imported_again_comes_back_as_it_was_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let labels = ["safe", "GA_GB", "X_Y", "control", "GA", "safe"];
    let cells: Vec<(&str, [f64; 3])> = (0..60)
        .map(|cell| (labels[cell % 6], [cell as f64, (cell % 3) as f64, f64::from(u8::from(cell == 7))]))
        .collect();
    let input = folder.path().join("in.h5ad");
    dense_h5ad(&input, &["GA", "GB", "MT-C"], &cells);
    {
        let file = hdf5::File::open_rw(&input).unwrap();
        let obs = file.group("obs").unwrap();
        let text =
            |values: Vec<String>| super::fixture::strings(&values.iter().map(String::as_str).collect::<Vec<_>>());
        array(&obs, "cell_type", &text((0..60).map(|cell| format!("NA{}", cell % 2)).collect()));
        array(&obs, "lane", &text((0..60).map(|cell| format!("l{}", cell % 4)).collect()));
        array(&obs, "pct_mt", &[0.5_f64; 60]);
        let order = super::fixture::strings(&["perturbation", "cell_type", "lane", "pct_mt"]);
        obs.delete_attr("column-order").unwrap();
        let attribute = obs.new_attr::<hdf5::types::VarLenUnicode>().shape(4).create("column-order").unwrap();
        attribute.write(&order).unwrap();
        let adt = table(&file.group("obsm").unwrap(), "adt", &[""; 60], &["CD4", "CD8"]);
        array(&adt, "CD4", &[1.0_f64; 60]);
        array(&adt, "CD8", &[2.0_f64; 60]);
    }
    let mut options = small();
    options.qc.min_cells_per_gene = Some(2);
    options.control = vec!["safe".into(), "control".into()];
    options.keys.batch = Some("lane".into());
    options.kind = Some("CRISPRi".into());
    options.shuffle = Some(3);
    let path = |name: &str| folder.path().join(name);
    import(&[input], &path("first.zarr"), &options).unwrap();
    let first = CellStore::open(&path("first.zarr")).unwrap();
    assert_eq!((first.n_genes(), first.labels().contexts.len(), first.labels().batches.len()), (2, 2, 4));
    let pct_mt = |store: &CellStore| store.obs().unwrap().column("pct_mt").cloned();
    assert!(matches!(pct_mt(&first), Some(ColumnData::Float(percent)) if percent.iter().any(|&percent| percent > 0.0)));

    // The rules that are usual would drop what is there: every perturbation has fewer than 30 cells.
    let again = import(&[path("first.zarr")], &path("again.zarr"), &ImportOptions::default()).unwrap();
    let third = import(&[path("again.zarr")], &path("third.zarr"), &ImportOptions::default()).unwrap();
    for report in [&again, &third] {
        let store = CellStore::open(&report.store).unwrap();
        assert_eq!(content(&store), content(&first));
        assert_eq!(store.read_rows(0..store.n_cells()).unwrap(), first.read_rows(0..first.n_cells()).unwrap());
        assert_eq!((store.info().shuffled, store.info().value_kind), (Some(3), ValueKind::Counts));
        assert_eq!(store.read_obsm("adt", 0..5).unwrap(), first.read_obsm("adt", 0..5).unwrap());
        assert!(report.store.join("uns/adt_names").is_dir());
        assert!(report.notices.iter().any(|notice| notice.contains("a cell store")), "{:?}", report.notices);
    }

    // What is asked for is done all the same.
    let mut asked = ImportOptions { kind: Some("drug".into()), ..ImportOptions::default() };
    asked.keys.context = Some("lane".into());
    asked.qc.min_cells_per_perturbation = Some(100);
    let report = import(&[path("first.zarr")], &path("asked.zarr"), &asked).unwrap();
    let store = CellStore::open(&report.store).unwrap();
    assert_eq!((report.perturbations, report.contexts.len(), store.labels().kinds.len()), (0, 4, 1));
    assert!(store.obs().unwrap().column("source_context").is_some());

    // Beside another input the labels of a store stay what they are.
    let other = path("other.h5ad");
    dense_h5ad(&other, &["GA", "GB", "X"], &[("ctrl", [1.0, 2.0, 3.0]), ("X_Y", [1.0, 1.0, 1.0])]);
    let both = import(&[path("first.zarr"), other], &path("both.zarr"), &small()).unwrap();
    let names: Vec<String> =
        CellStore::open(&both.store).unwrap().labels().perturbations.iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["control", "GA", "GA+GB", "X_Y"]);
}

#[test]
fn cells_of_one_name_are_kept_with_a_note_and_numbered_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.h5ad"), folder.path().join("two.h5ad"));
    dense_h5ad(&one, &GENES, &[("ctrl", [1.0, 2.0, 3.0]), ("A", [1.0, 1.0, 1.0])]);
    dense_h5ad(&two, &GENES, &[("ctrl", [7.0, 8.0, 9.0])]);
    let load = |name: &str, make_unique| {
        let options = ImportOptions { make_unique, ..small() };
        let report = import(&[one.clone(), two.clone()], &folder.path().join(name), &options).unwrap();
        let index = CellStore::open(&report.store).unwrap().obs().unwrap().index.clone();
        let note = report.notices.iter().find(|notice| notice.contains("more than once")).cloned().unwrap();
        (index, note)
    };
    let (index, note) = load("kept.zarr", false);
    assert!(
        index == ["c0", "c1", "c0"] && note.contains("(c0 …)") && note.contains("--make-unique"),
        "{index:?} {note}"
    );
    let (index, note) = load("numbered.zarr", true);
    assert!(index == ["c0", "c1", "c0-1"] && note.contains("were numbered"), "{index:?} {note}");
}

/// The folder of real data, if this machine has it.
fn real_data() -> Option<PathBuf> {
    test_data("cells")
}

/// A folder of the test data, if this machine has it.
pub(super) fn test_data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SYNCYTE_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from)
        .join(name);
    if !folder.is_dir() {
        println!("skipped: no test data");
        return None;
    }
    Some(folder)
}

/// Imports one real input into a folder that is gone afterwards, and checks the store against the input.
fn import_real(name: &str, options: &ImportOptions) -> Option<ImportReport> {
    let input = real_data()?.join(name);
    let folder = tempfile::tempdir().unwrap();
    let report = import(std::slice::from_ref(&input), &folder.path().join("out.zarr"), options).unwrap();
    let store = CellStore::open(&report.store).unwrap();
    let source = open(&input).unwrap();
    let (obs, var) = (source.obs().unwrap().frame, source.var(&MatrixPath::X).unwrap().frame);
    let place: Vec<Option<usize>> = var.index.iter().map(|gene| store.genes().iter().position(|g| g == gene)).collect();
    let written = AnnDataZarr::open(&report.store).unwrap().obs().unwrap().frame;
    for (at, cell) in written.index.iter().enumerate().step_by(97) {
        let row = obs.index.iter().position(|name| name == cell).unwrap();
        let want = source.read_rows(&MatrixPath::X, row..row + 1).unwrap();
        let (columns, values) = want.row(0);
        let mut want: Vec<(u32, f32)> =
            columns.iter().zip(values).filter_map(|(&c, &v)| place[c as usize].map(|p| (p as u32, v))).collect();
        want.sort_by_key(|entry| entry.0);
        let got = store.read_rows(at..at + 1).unwrap();
        assert_eq!(
            got.indices.iter().copied().zip(got.values.iter().copied()).collect::<Vec<_>>(),
            want,
            "{name} {cell}"
        );
    }
    Some(report)
}

#[test]
fn the_norman_subset_imports_as_log1p_with_its_doubles_and_contexts() {
    let Some(report) = import_real("norman_mcfaline_subset.h5ad", &ImportOptions::default()) else { return };
    assert_eq!((report.values, report.cells, report.perturbations, report.controls), (ValueKind::Log1p, 5961, 33, 400));
    assert!(report.notices.iter().any(|notice| notice.contains("cannot tell")), "{:?}", report.notices);
    assert_eq!(report.contexts, ["A172", "T98G", "U87MG", "k562"]);
    assert_eq!(report.qc.rules.max_pct_mt, None);
}

#[test]
fn the_papalexi_cells_import_as_counts_with_their_guides() {
    let Some(report) = import_real("papalexi_thp1.h5ad", &ImportOptions::default()) else { return };
    assert_eq!((report.values, report.perturbations, report.controls), (ValueKind::Counts, 25, 2386));
    assert_eq!((report.batches, report.obsm.as_slice()), (3, &["grna_counts".to_owned()][..]));
}

#[test]
fn the_schraivogel_and_panobinostat_cells_import_as_counts() {
    let Some(report) = import_real("schraivogel_k562_tap.h5ad", &ImportOptions::default()) else { return };
    assert_eq!((report.perturbations, report.controls), (14, 7780));
    let Some(report) = import_real("gbm_panobinostat.h5ad", &ImportOptions::default()) else { return };
    assert_eq!((report.perturbations, report.controls, report.contexts.len()), (1, 2500, 5));
    assert!(report.notices.iter().any(|n| n.contains("--gene-key symbol")), "{:?}", report.notices);
}

#[test]
fn cite_seq_of_an_older_anndata_imports_with_its_proteins() {
    for (name, proteins) in [("pbmc_5k_protein_v3.h5ad", 29), ("pbmc_10k_protein_v3.h5ad", 14)] {
        let options = ImportOptions {
            protein_key: Some("protein_expression".into()),
            unlabelled: true,
            ..ImportOptions::default()
        };
        let Some(report) = import_real(name, &options) else { return };
        assert_eq!((report.values, report.obsm.len(), report.perturbations), (ValueKind::Counts, 1, 0));
        assert_eq!(report.qc.rules.max_pct_mt, Some(20.0));
        let source = open(&real_data().unwrap().join(name)).unwrap();
        assert_eq!(source.read_dense("protein_expression").unwrap().0, proteins);
    }
}

#[test]
fn the_jurkat_folder_imports_with_guides_merged_into_targets() {
    let options = ImportOptions { strip_guide_suffix: true, ..ImportOptions::default() };
    let Some(report) = import_real("datlinger_jurkat_mtx", &options) else { return };
    assert_eq!((report.values, report.perturbations, report.controls), (ValueKind::Counts, 20, 200));
    assert_eq!(report.contexts, ["Jurkat cells"]);
    let Some(report) = import_real("datlinger_jurkat_mtx", &ImportOptions::default()) else { return };
    assert_eq!(report.perturbations, 40);
}

#[test]
fn scaled_values_are_passed_over_for_counts_in_a_layer_and_refused_when_asked_for() {
    let Some(folder) = real_data() else { return };
    let input = folder.join("10x_pbmc68k_reduced.zarr.zip");
    let out = tempfile::tempdir().unwrap();
    let options = ImportOptions { unlabelled: true, ..ImportOptions::default() };
    let report = import(std::slice::from_ref(&input), &out.path().join("a.zarr"), &options).unwrap();
    assert_eq!((report.inputs[0].matrix.as_str(), report.values), ("layers/counts", ValueKind::Counts));
    let options = ImportOptions { matrix: Some(MatrixPath::X), ..options };
    let message = import(&[input], &out.path().join("b.zarr"), &options).unwrap_err().to_string();
    assert!(message.contains("look scaled") && message.contains("raw/X"), "{message}");
}
