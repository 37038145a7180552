//! Cells without labels: a model is pretrained on them, and what needs perturbations is refused by what is missing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use syncyte_tests::{Lab, Outcome, losses, run, turn};

const CELLS: usize = 240;
const GENES: usize = 40;

/// A folder as 10x's Cell Ranger writes it: counts, genes, barcodes and nothing that is known of a cell.
fn write_counts(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let (mut entries, mut count) = (String::new(), 0);
    for (cell, gene) in (0..CELLS).flat_map(|cell| (0..GENES).map(move |gene| (cell, gene))) {
        let value = (cell * 7 + gene * 13 + cell * gene) % 5;
        if value > 0 {
            writeln!(entries, "{} {} {value}", gene + 1, cell + 1).unwrap();
            count += 1;
        }
    }
    let header = "%%MatrixMarket matrix coordinate integer general";
    fs::write(folder.join("matrix.mtx"), format!("{header}\n{GENES} {CELLS} {count}\n{entries}")).unwrap();
    let genes: Vec<String> = (0..GENES).map(|gene| format!("ENSG{gene:05}\tG{gene}\tGene Expression\n")).collect();
    fs::write(folder.join("features.tsv"), genes.concat()).unwrap();
    let barcodes: Vec<String> = (0..CELLS).map(|cell| format!("cell{cell}\n")).collect();
    fs::write(folder.join("barcodes.tsv"), barcodes.concat()).unwrap();
}

fn import(lab: &Lab, more: &[&str]) -> Outcome {
    let (from, to) = (lab.path("counts").display().to_string(), lab.path("plain.zarr").display().to_string());
    let all = "--min-genes 0 --max-pct-mt 101 --min-cells-per-gene 0";
    let words = ["store", "import", &from, &to].into_iter().chain(all.split(' '));
    run(words.chain(more.iter().copied()))
}

#[test]
fn cells_without_labels_are_pretrained_on_and_the_rest_says_what_it_needs() {
    let _turn = turn("cells_without_labels_are_pretrained_on_and_the_rest_says_what_it_needs");
    let lab = Lab::new();
    write_counts(&lab.path("counts"));
    let outcome = import(&lab, &["--unlabelled"]);
    if outcome.code != Some(0) {
        // Where cells without labels need no word.
        import(&lab, &[]).assert_code(0);
    }
    lab.split("plain.zarr", "cells", "plain.json").assert_code(0);
    let store = format!("data.store={}", lab.path("plain.zarr").display());
    let split = format!("data.split={}", lab.path("plain.json").display());
    let data = [&*store, &*split, "engine.steps=12", "engine.monitor_every=4", "data.batch_size=32"];
    for (ranks, kind) in [(1, "gene_embedding"), (2, "gene_embedding"), (1, "one_hot_mlp"), (2, "one_hot_mlp")] {
        let name = format!("run-{kind}-{ranks}");
        let encoder = format!("model.perturbation.kind={kind}");
        let settings = [&data[..], &["objective.tasks=[\"augmentation\"]", &encoder]].concat();
        lab.train(ranks, "pretrain", &name, &settings).assert_code(0);
        losses(&lab.path(&name), 12);
        lab.train(ranks, "pretrain --resume", &name, &settings).assert_code(0);
    }
    for (command, parts) in [("finetune", ["perturbed"]), ("diffuse", ["perturbed"])] {
        let from = format!("{command} --from {}", lab.path("run-gene_embedding-1").display());
        let outcome = lab.train(1, &from, "run-gene_embedding-1", &data);
        assert!([Some(2), Some(3)].contains(&outcome.code), "{outcome:?}");
        outcome.assert_refused(outcome.code.unwrap(), &parts);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
    for tasks in ["[\"paired\"]", "[\"augmentation\", \"paired\"]"] {
        let tasks = format!("objective.tasks={tasks}");
        let settings = [&data[..], &[&tasks]].concat();
        let refused = lab.train(1, "pretrain", "paired", &settings);
        refused.assert_refused(2, &["no perturbed cells", "objective.tasks = [\"augmentation\"]"]);
        lab.assert_nothing_in("paired");
    }
}
