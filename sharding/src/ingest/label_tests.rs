//! Imports of labels of every spelling.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::fixture::dense_h5ad;
use super::tests::{small, test_data};
use super::*;
use crate::store::CellStore;

/// A report, and the cells of every perturbation; or why it was refused.
type Imported = Result<(ImportReport, BTreeMap<String, usize>), String>;

/// Imports a made-up file; gives the report, and the cells of every perturbation.
fn import_file(name: &str, options: &ImportOptions) -> Option<Imported> {
    let input = test_data("files")?.join(name).with_extension("h5ad");
    let folder = tempfile::tempdir().unwrap();
    let imported = import(&[input], &folder.path().join("out.zarr"), options);
    Some(imported.map_err(|error| error.to_string()).map(|report| {
        let sizes = sizes(&report);
        (report, sizes)
    }))
}

/// Cells of every perturbation.
fn sizes(report: &ImportReport) -> BTreeMap<String, usize> {
    let store = CellStore::open(&report.store).unwrap();
    let labels = store.labels();
    let mut sizes = BTreeMap::new();
    for &code in &labels.perturbation {
        *sizes.entry(labels.perturbations[code as usize].name.clone()).or_default() += 1;
    }
    sizes
}

/// Imports cells of these labels, one for each, with the genes GENE1, GENE2 and GENE3.
fn import_labels(labels: &[&str], options: &ImportOptions) -> Imported {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.h5ad");
    let cells: Vec<(&str, [f64; 3])> = labels.iter().map(|&label| (label, [1.0, 2.0, 1.0])).collect();
    dense_h5ad(&input, &["GENE1", "GENE2", "GENE3"], &cells);
    let imported = import(&[input], &folder.path().join("out.zarr"), options).map_err(|error| error.to_string());
    imported.map(|report| {
        let sizes = sizes(&report);
        (report, sizes)
    })
}

fn said(report: &ImportReport, parts: &[&str]) -> bool {
    report.notices.iter().any(|notice| parts.iter().all(|part| notice.contains(part)))
}

fn counted<const N: usize>(sizes: [(&str, usize); N]) -> BTreeMap<String, usize> {
    sizes.map(|(name, cells)| (name.to_owned(), cells)).into()
}

#[test]
fn guides_of_one_gene_are_told_and_merged_when_asked() {
    let options = ImportOptions { strip_guide_suffix: true, ..ImportOptions::default() };
    let Some(imported) = import_file("guide_labels", &options) else { return };
    let (report, sizes) = imported.unwrap();
    assert_eq!(sizes, counted([("control", 80), ("GENE1", 80), ("GENE2", 80)]));
    assert_eq!(report.control_labels, BTreeMap::from([("NO-TARGET_g1".into(), 40), ("safe-targeting_2".into(), 40)]));
    assert!(!said(&report, &["look like guides"]), "{:?}", report.notices);
    let (report, sizes) = import_file("guide_labels", &ImportOptions::default()).unwrap().unwrap();
    assert_eq!((sizes["control"], report.perturbations), (80, 3));
    assert!(
        said(&report, &["sgGENE1-1, sgGENE1-2 of GENE1", "GENE2_sg1 of GENE2", "--strip-guide-suffix"]),
        "{:?}",
        report.notices
    );
    assert!(said(&report, &["non-targeting: 'NO-TARGET_g1 (40 cells)'", "safe-targeting"]), "{:?}", report.notices);
}

#[test]
fn combinations_are_read_whatever_joins_known_symbols() {
    let Some(imported) = import_file("separators", &ImportOptions::default()) else { return };
    let (report, sizes) = imported.unwrap();
    assert_eq!(sizes, counted([("control", 80), ("GENE1", 40), ("GENE1+GENE2", 120)]));
    assert!(!said(&report, &["combinations"]), "{:?}", report.notices);

    // A drug that occurs alone is known too; one that does not is left as it stands, and said.
    let labels = ["ctrl", "GENE3 | DrugA", "DrugA;GENE3", "DrugA", "GENE1, DrugB", "GENE1|ctrl"];
    let (report, sizes) = import_labels(&labels, &small()).unwrap();
    let want = [("control", 1), ("DrugA", 1), ("DrugA+GENE3", 2), ("GENE1", 1), ("GENE1, DrugB", 1)];
    assert_eq!(sizes, counted(want));
    assert!(
        said(&report, &["1 labels look like combinations", "GENE1, DrugB (1 cells)", "--label-map"]),
        "{:?}",
        report.notices
    );
}

/// A table of labels in a folder that lives as long as it.
fn label_map(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.tsv");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn labels_that_no_rule_reads_are_mapped_and_left_out() {
    let (_folder, map) =
        label_map("GENE1_pDS032\tGENE1\nGENE2_pDS033\tGENE2\n63(mod)_pBA580\tGENE1\n3x_neg_ctrl_pMJ144-1\tcontrol\n");
    let rewriting = Rewriting { map: Some(map), exclude: vec!["*".into()], ..Rewriting::default() };
    let Some(imported) = import_file("adamson_labels", &ImportOptions { rewriting, ..ImportOptions::default() }) else {
        return;
    };
    let (report, sizes) = imported.unwrap();
    assert_eq!(sizes, counted([("control", 80), ("GENE1", 100), ("GENE2", 40)]));
    assert_eq!((report.qc.cells.dropped[0].rule, report.qc.cells.dropped[0].count), ("excluded label", 20));
    assert_eq!(report.control_labels, BTreeMap::from([("3x_neg_ctrl_pMJ144-1".into(), 80)]));

    // Without a table: plasmids are cut, and what is left of the control is a control word.
    let rewriting = Rewriting { exclude: vec!["*".into()], ..Rewriting::default() };
    let options = ImportOptions { rewriting, strip_guide_suffix: true, ..ImportOptions::default() };
    let (_, sizes) = import_file("adamson_labels", &options).unwrap().unwrap();
    assert_eq!(sizes, counted([("control", 80), ("63(mod)", 40), ("GENE1", 60), ("GENE2", 40)]));

    let rewriting =
        Rewriting { regex: Some("^(.*)_p[A-Z]+[0-9-]+$".into()), exclude: vec!["*".into()], ..Rewriting::default() };
    let (_, sizes) =
        import_file("adamson_labels", &ImportOptions { rewriting, ..ImportOptions::default() }).unwrap().unwrap();
    assert_eq!(sizes, counted([("control", 80), ("63(mod)", 40), ("GENE1", 60), ("GENE2", 40)]));
}

#[test]
fn an_excluded_label_that_does_not_occur_is_refused_and_leaves_nothing() {
    let exclude =
        ImportOptions { rewriting: Rewriting { exclude: vec!["GENE5".into()], ..Rewriting::default() }, ..small() };
    let message = import_labels(&["ctrl", "GENE1", "GENE2"], &exclude).unwrap_err();
    assert!(message.contains("no cell is labelled 'GENE5'") && message.contains("'GENE1'"), "{message}");
}

#[test]
fn the_labels_that_became_control_are_noted_and_given_words_replace_the_built_in_ones() {
    let labels = ["DMSO", "Control", "Control", "GENE1", "GENE1", "DrugA"];
    let (report, sizes) = import_labels(&labels, &small()).unwrap();
    assert_eq!(sizes["control"], 3);
    assert_eq!(report.control_labels, BTreeMap::from([("Control".into(), 2), ("DMSO".into(), 1)]));
    assert!(
        said(&report, &["controls of 2 kinds", "control: 'Control (2 cells)'", "vehicle: 'DMSO (1 cells)'"]),
        "{:?}",
        report.notices
    );

    let (report, sizes) = import_labels(&labels, &ImportOptions { control: vec!["dmso".into()], ..small() }).unwrap();
    assert_eq!(sizes, counted([("control", 1), ("Control", 2), ("DrugA", 1), ("GENE1", 2)]));
    assert_eq!(report.control_labels, BTreeMap::from([("DMSO".into(), 1)]));
    let both = ImportOptions { control: vec!["dmso".into(), "Control".into()], ..small() };
    let (report, _) = import_labels(&labels, &both).unwrap();
    assert_eq!(report.controls, 3);
    assert!(!said(&report, &["kinds"]), "{:?}", report.notices);
}

#[test]
fn cells_without_anything_to_train_on_are_refused_unless_that_is_wanted() {
    let refused = |message: String, parts: &[&str]| {
        for part in parts.iter().chain(&["nothing can be trained on", "--unlabelled"]) {
            assert!(message.contains(part), "`{part}` is not in {message}");
        }
    };
    refused(import_labels(&["ctrl", "NT"], &small()).unwrap_err(), &["every cell is a control", "NT (1), ctrl (1)"]);
    let many = ImportOptions { qc: QcOptions { min_cells_per_gene: Some(1), ..QcOptions::default() }, ..small() };
    let labels: Vec<&str> = std::iter::repeat_n("ctrl", 50).chain(["GENE1", "GENE1", "GENE2"]).collect();
    let parts = ["none of 2 perturbations is left", "the largest has 2 cells", "--min-cells-per-perturbation"];
    refused(import_labels(&labels, &many).unwrap_err(), &parts);
    let (report, _) = import_labels(&labels, &ImportOptions { unlabelled: true, ..many }).unwrap();
    assert_eq!((report.controls, report.perturbations), (50, 0));

    let Some(imported) = import_file("one_cell_each", &ImportOptions::default()) else { return };
    refused(imported.unwrap_err(), &["none of 40 perturbations is left", "--min-cells-per-perturbation"]);
    let unlabelled = ImportOptions { unlabelled: true, ..ImportOptions::default() };
    assert_eq!(import_file("one_cell_each", &unlabelled).unwrap().unwrap().0.controls, 200);
}

#[test]
fn one_of_several_inputs_without_labels_is_refused_by_name_unless_its_own_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let genes = ["GENE1", "GENE2", "GENE3"];
    let cells = |labels: [&'static str; 2]| labels.map(|label| (label, [1.0, 2.0, 1.0]));
    dense_h5ad(&path("one.h5ad"), &genes, &cells(["ctrl", "GENE1"]));
    dense_h5ad(&path("two.h5ad"), &genes, &cells(["DMSO", "GENE2"]));
    let file = hdf5::File::open_rw(path("two.h5ad")).unwrap();
    let obs = file.group("obs").unwrap();
    obs.relink("perturbation", "stim").unwrap();
    obs.attr("column-order").unwrap().write(&super::fixture::strings(&["stim"])).unwrap();
    drop((obs, file));
    let inputs = [path("one.h5ad"), path("two.h5ad")];
    let message = import(&inputs, &path("out.zarr"), &small()).unwrap_err().to_string();
    for part in ["two.h5ad: no column of perturbation labels", "'stim' with", "FILE:perturbation-key"] {
        assert!(message.contains(part), "`{part}` is not in {message}");
    }
    let with_own =
        |own: InputOptions| ImportOptions { of_inputs: BTreeMap::from([(path("two.h5ad"), own)]), ..small() };
    let keys = Keys { perturbation: Some("stim".into()), ..Keys::default() };
    let own = InputOptions { keys, kind: Some("drug".into()), unlabelled: false };
    let report = import(&inputs, &path("keyed.zarr"), &with_own(own)).unwrap();
    assert_eq!(sizes(&report), counted([("control", 2), ("GENE1", 1), ("GENE2", 1)]));
    assert_eq!(report.inputs[1].columns.perturbation.as_deref(), Some("stim"));
    assert_eq!(CellStore::open(&report.store).unwrap().labels().kinds, ["drug", "unknown"]);

    let own = InputOptions { unlabelled: true, ..InputOptions::default() };
    let report = import(&inputs, &path("unlabelled.zarr"), &with_own(own)).unwrap();
    assert_eq!(sizes(&report), counted([("control", 3), ("GENE1", 1)]));
    assert_eq!(report.control_labels, BTreeMap::from([("(no label)".into(), 2), ("ctrl".into(), 1)]));
    assert!(said(&report, &["two.h5ad", "every cell counts as control"]), "{:?}", report.notices);
}

#[test]
fn a_control_word_that_is_a_measured_gene_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.h5ad");
    let cells = ["CTRL", "CTRL_1", "NT", "GA"].map(|label| (label, [1.0, 2.0, 1.0]));
    dense_h5ad(&input, &["GA", "CTRL", "GC"], &cells);
    let inputs = [input];
    let report = import(&inputs, &folder.path().join("a.zarr"), &small()).unwrap();
    assert_eq!(report.controls, 1);
    assert!(said(&report, &["'CTRL (1 cells)', 'CTRL_1 (1 cells)'", "--control"]), "{:?}", report.notices);
    let control = ["CTRL", "NT"].map(String::from).to_vec();
    let options = ImportOptions { control, strip_guide_suffix: true, ..small() };
    assert_eq!(import(&inputs, &folder.path().join("b.zarr"), &options).unwrap().controls, 3);
}
