//! Others read what we write, and we read what others write.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use syncyte_sharding::collection::AnnDataRows;
use syncyte_sharding::loader::{BatchRequest, Loader, LoaderConfig, RowReader};

use crate::cells::Recipe;
use crate::naive::Naive;
use crate::remote::{python, skip};

/// Bytes of a row as the peers hash it: length, columns, values.
fn bytes((columns, values): (Vec<u32>, Vec<f32>)) -> Vec<u8> {
    let mut bytes = (columns.len() as u64).to_le_bytes().to_vec();
    bytes.extend(columns.iter().flat_map(|column| column.to_le_bytes()));
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Runs a peer and reads the JSON object that it prints.
fn peer(python: &Path, script: &str, arguments: &[&Path]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers").join(script);
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The interpreter with annbatch that `scripts/setup.sh --bench` installs. Where it is absent, says so.
fn annbatch(what: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("SYNCYTE_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/syncyte")));
    let python = cache.map(|cache| cache.join("annbatch-venv/bin/python")).filter(|python| python.is_file());
    if python.is_none() {
        skip(&format!(
            "{what}: no annbatch (scripts/setup.sh --bench installs it where there is Python 3.12 or later)"
        ));
    }
    python
}

#[test]
fn anndata_reads_values_types_and_tables_of_stores_of_small_and_large_counts() {
    let Some(python) = python("anndata reads stores of small and large counts") else { return };
    for (largest, dtype) in [(40, "uint8"), (1000, "uint16"), (90_000, "uint32")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.zarr");
        let recipe = Recipe { largest, ..Recipe::small() };
        recipe.write(&path);
        let naive = Naive::open(&path);
        let rows: Vec<_> = (0..naive.n_rows()).map(|row| naive.row(row)).collect();
        let content: Vec<u8> = rows.iter().cloned().flat_map(bytes).collect();
        let sums: Vec<f64> = rows.iter().map(|row| row.1.iter().copied().map(f64::from).sum()).collect();
        let perturbation = naive.labels("perturbation");
        let is_control: Vec<bool> = perturbation.iter().map(|name| name == "control").collect();
        let lengths: Vec<usize> = rows.iter().map(|row| row.0.len()).collect();
        let expected = json!({
            "cells": recipe.cells, "genes": recipe.genes, "nnz": lengths.iter().sum::<usize>(),
            "x_sha256": hex(&Sha256::digest(&content)), "x_format": "csr", "x_dtype": dtype,
            "indices_dtype": "uint16", "indptr_dtype": "int32", "sorted_indices": true, "canonical": true,
            "gene_names": (0..recipe.genes).map(|gene| format!("G{gene}")).collect::<Vec<_>>(),
            "cell_names": (0..recipe.cells).map(|cell| format!("cell{cell}")).collect::<Vec<_>>(),
            "obs": {
                "perturbation": perturbation, "is_control": is_control, "context": naive.labels("context"),
                "batch": naive.labels("batch"), "perturbation_kind": naive.labels("perturbation_kind"),
                "n_genes": lengths, "library_size": sums,
            },
            "obs_dtypes": {
                "perturbation": "category", "context": "category", "batch": "category",
                "perturbation_kind": "category", "is_control": "bool", "library_size": "float64", "n_genes": "int64",
            },
            "row_sums": sums,
        });
        let wanted = folder.path().join("expected.json");
        std::fs::write(&wanted, expected.to_string()).unwrap();
        peer(&python, "read_store.py", &[&path, &wanted]);
    }
}

#[test]
fn annbatch_loads_the_cells_of_our_store() {
    let Some(python) = annbatch("annbatch loads our store") else { return };
    for largest in [40, 1000] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.zarr");
        Recipe { largest, ..Recipe::small() }.write(&path);
        let naive = Naive::open(&path);
        let found = peer(&python, "annbatch_cells.py", &[Path::new("read"), &path]);
        let rows: Vec<String> = (0..naive.n_rows()).map(|row| hex(&Sha256::digest(bytes(naive.row(row))))).collect();
        assert_eq!(
            found,
            json!({"rows": rows, "perturbation": naive.labels("perturbation")}),
            "counts up to {largest}"
        );
    }
}

#[test]
fn we_load_the_cells_of_annbatchs_collection() {
    let Some(python) = annbatch("we load annbatch's collection") else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = peer(&python, "annbatch_cells.py", &[Path::new("write"), folder.path()]);
    assert!(made["datasets"].as_u64().unwrap() > 1, "{made}");
    let reader = Arc::new(AnnDataRows::open(&folder.path().join("cells.zarr")).unwrap());
    assert_eq!((reader.n_cells(), reader.n_genes(), json!(reader.nnz())), (500, 120, made["nnz"].clone()));
    // Every row, from the last to the first, over the borders of the datasets.
    let order: Vec<u64> = (0..500).rev().collect();
    let requests: Vec<BatchRequest> = (0..)
        .zip(order.chunks(64))
        .map(|(step, rows)| BatchRequest { step, rows: rows.to_vec(), partners: Vec::new() })
        .collect();
    let mut found = vec![String::new(); 500];
    for batch in Loader::new(&reader, requests, &LoaderConfig::default()).unwrap() {
        let batch = batch.unwrap();
        for (at, &row) in batch.rows.iter().enumerate() {
            found[row as usize] = hex(&Sha256::digest(bytes(sorted(batch.cells.row(at)))));
        }
    }
    assert_eq!(json!(found), made["rows"]);
}

/// A row by rising columns: annbatch does not promise their order.
fn sorted((columns, values): (Vec<u32>, Vec<f32>)) -> (Vec<u32>, Vec<f32>) {
    let mut pairs: Vec<(u32, f32)> = columns.into_iter().zip(values).collect();
    pairs.sort_by_key(|pair| pair.0);
    pairs.into_iter().unzip()
}
