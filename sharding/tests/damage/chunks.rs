//! Damaged chunks and shards, and indices of shards.

use std::fs;

use crate::campaign;
use crate::mutation::{self, one_of};
use crate::seeds::{files, read_everything, stores, with_changed};

#[test]
fn damaged_chunks_are_an_error_or_other_numbers_but_no_panic_and_no_hang() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let stores = stores(root);
    let test = "chunks::damaged_chunks_are_an_error_or_other_numbers_but_no_panic_and_no_hang";
    campaign::run(test, |random| {
        let path = if random.below(4) == 0 { &stores[0] } else { one_of(random, &stores) };
        let chunks: Vec<_> = files(path).into_iter().filter(|file| !file.ends_with("zarr.json")).collect();
        let file = one_of(random, &chunks);
        let mut content = fs::read(file).unwrap();
        mutation::bytes(random, &mut content);
        if random.below(2) == 0 && content.len() > 4 {
            // Damage behind a sound checksum: of the file, which is that of its index or of its only chunk.
            let end = content.len() - 4;
            let from = if random.below(2) == 0 { 0 } else { end.saturating_sub(16 * random.below(5) as usize) };
            let sum = crc32c::crc32c(&content[from..end]);
            content[end..].copy_from_slice(&sum.to_le_bytes());
        }
        with_changed(file, &content, || read_everything(path));
    });
}
