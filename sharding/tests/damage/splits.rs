//! Damaged split files.

use std::fs;

use syncyte_sharding::split::{Scheme, Split, SplitError, SplitOptions};

use crate::campaign;
use crate::mutation::json_text;
use crate::seeds::store;

#[test]
fn a_damaged_split_file_is_refused_or_says_the_same_split() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("cells.zarr"));
    let path = folder.path().join("split.json");
    let split = Split::make(store.labels(), store.data_hash(), &SplitOptions::new(Scheme::Cells)).unwrap();
    split.save(&path).unwrap();
    let sound = fs::read(&path).unwrap();
    campaign::run("splits::a_damaged_split_file_is_refused_or_says_the_same_split", |random| {
        let mut text = json_text(random, &sound);
        fs::write(&path, &text).unwrap();
        let mut loaded = Split::load(&path, &store);
        // Whoever changes a split can put the right hash into it too.
        if let Err(SplitError::Tampered { recorded, found, .. }) = &loaded
            && recorded.len() == found.len()
        {
            text = String::from_utf8_lossy(&text).replace(recorded, found).into_bytes();
            fs::write(&path, &text).unwrap();
            loaded = Split::load(&path, &store);
        }
        if let Ok(loaded) = loaded {
            assert_eq!(loaded.n_cells(), store.n_cells());
            assert_eq!(loaded.data_hash(), store.data_hash());
            let cells: u64 = syncyte_sharding::split::Fold::ALL.iter().map(|&fold| loaded.counts(fold).cells).sum();
            assert_eq!(cells, store.n_cells() as u64);
            loaded.save(&path).unwrap();
            assert_eq!(Split::load(&path, &store).unwrap(), loaded);
        }
    });
}
