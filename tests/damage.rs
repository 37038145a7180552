//! A damaged store neither stops a run without need nor trains it on anything that was not checked.

use std::fs;
use std::path::Path;

use serde_json::Value;
use syncyte_tests::{Lab, losses, turn};

/// Flips a byte in the middle of a file.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[test]
fn unreadable_cells_are_replaced_alike_on_every_run_and_recorded_or_end_all_ranks_by_name() {
    let _turn = turn("unreadable_cells_are_replaced_alike_on_every_run_and_recorded_or_end_all_ranks_by_name");
    let lab = Lab::new();
    damage(&lab.path("cells.zarr/X/data/c/0"));
    let settings = ["engine.steps=20", "data.bad_chunk_share=0.6"];
    lab.train(1, "pretrain", "one", &settings).assert_code(0);
    lab.train(1, "pretrain", "again", &settings).assert_code(0);
    assert_eq!(losses(&lab.path("one"), 20), losses(&lab.path("again"), 20));
    let record = fs::read_to_string(lab.path("one/bad-chunks-rank-0.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let chunks = record.as_array().unwrap();
    assert!(!chunks.is_empty());
    for chunk in chunks {
        assert!(chunk["reason"].as_str().unwrap().contains("X/data"), "{chunk}");
        assert!(chunk["store"].as_str().unwrap().ends_with("cells.zarr"), "{chunk}");
    }
    lab.train(2, "pretrain", "two", &settings).assert_code(0);

    for ranks in [1, 2] {
        let name = format!("strict-{ranks}");
        let refused = lab.train(ranks, "pretrain", &name, &["engine.steps=20", "data.bad_chunk_share=0"]);
        refused.assert_refused(3, &["cells.zarr", "X/data", "checksum"]);
    }
}

#[test]
fn a_run_with_a_cache_of_decoded_chunks_is_the_run_without_one() {
    let _turn = turn("a_run_with_a_cache_of_decoded_chunks_is_the_run_without_one");
    let lab = Lab::new();
    let cache = format!("data.cache_dir={}", lab.path("cache").display());
    lab.train(1, "pretrain", "plain", &["engine.steps=20"]).assert_code(0);
    let with_cache = ["engine.steps=20", cache.as_str()];
    lab.train(1, "pretrain", "filled", &with_cache).assert_code(0);
    let filled: Vec<_> = fs::read_dir(lab.path("cache")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(filled.len(), 1, "{filled:?}");
    // The store's values are not needed any more, so damage there is not even noticed.
    damage(&lab.path("cells.zarr/X/data/c/0"));
    lab.train(1, "pretrain", "used", &with_cache).assert_code(0);
    let plain = losses(&lab.path("plain"), 20);
    assert_eq!(losses(&lab.path("filled"), 20), plain);
    assert_eq!(losses(&lab.path("used"), 20), plain);
}
