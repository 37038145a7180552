//! Damaged metadata: `zarr.json` of every node, and the record of a store.

use std::fs;

use crate::mutation::{json_text, one_of};
use crate::seeds::{files, read_everything, stores, with_changed};
use crate::{campaign, mutation};

#[test]
fn damaged_metadata_is_an_error_or_another_store_but_no_panic_no_hang_and_no_terabytes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let stores = stores(root);
    let test = "metadata::damaged_metadata_is_an_error_or_another_store_but_no_panic_no_hang_and_no_terabytes";
    campaign::run(test, |random| {
        // Half of the cases on the real thing.
        let path = if random.below(2) == 0 { &stores[0] } else { one_of(random, &stores) };
        let metadata: Vec<_> = files(path).into_iter().filter(|file| file.ends_with("zarr.json")).collect();
        let file = one_of(random, &metadata);
        let mut changed = json_text(random, &fs::read(file).unwrap());
        if random.below(16) == 0 {
            mutation::bytes(random, &mut changed);
        }
        if std::env::var_os("SYNCYTE_FUZZ_CASE").is_some() {
            println!("{}: {}", file.display(), String::from_utf8_lossy(&changed));
        }
        with_changed(file, &changed, || read_everything(path));
    });
}
