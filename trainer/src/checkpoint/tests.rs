//! Damage: whatever the bytes of a checkpoint are, reading it ends with the state or with an error that names it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::fixtures::{snapshot, trained};
use super::manifest::{MANIFEST, Manifest, record};
use super::*;
use syncyte_fabric::collective::Solo;

/// A whole checkpoint of one rank.
fn whole(folder: &Path) -> PathBuf {
    let trained = trained(3, &Solo);
    write(folder, snapshot(&trained, &Solo), Duration::from_mins(1), &Solo).unwrap().folder
}

/// A change of bytes.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Cut(Index),
    Drop(Index, Index),
    Repeat(Index, Index),
    Insert(Index, String),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let texts = ["\"", "{", "}", "0", "-1", "18446744073709551615", "1e999", "null", "../", "\u{fffd}", ","];
    prop_oneof![
        (any::<Index>(), 1_u8..).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        any::<Index>().prop_map(Mutation::Cut),
        any::<(Index, Index)>().prop_map(|(from, to)| Mutation::Drop(from, to)),
        any::<(Index, Index)>().prop_map(|(from, to)| Mutation::Repeat(from, to)),
        (any::<Index>(), prop::sample::select(texts.to_vec())).prop_map(|(at, text)| Mutation::Insert(at, text.into())),
    ]
}

impl Mutation {
    /// Changes the first `reach` bytes.
    fn apply(&self, bytes: &mut Vec<u8>, reach: usize) {
        let reach = reach.min(bytes.len());
        if reach == 0 {
            return;
        }
        let pair = |a: &Index, b: &Index| (a.index(reach).min(b.index(reach)), a.index(reach).max(b.index(reach)));
        match self {
            Self::Flip(at, bits) => bytes[at.index(reach)] ^= bits,
            Self::Cut(at) => bytes.truncate(at.index(reach)),
            Self::Drop(from, to) => {
                let (from, to) = pair(from, to);
                bytes.drain(from..to);
            }
            Self::Repeat(from, to) => {
                let (from, to) = pair(from, to);
                let again = bytes[from..to].to_vec();
                bytes.splice(to..to, again);
            }
            Self::Insert(at, text) => {
                let at = at.index(reach);
                bytes.splice(at..at, text.bytes());
            }
        }
    }
}

/// Opens and restores; an error must name the folder.
fn read(folder: &Path) -> Result<(), CheckpointError> {
    let mut state = trained(4, &Solo);
    let outcome = Checkpoint::open(folder).and_then(|checkpoint| checkpoint.restore(&mut state));
    if let Err(error) = &outcome {
        assert!(error.to_string().contains(&*folder.to_string_lossy()), "{error}");
        assert_eq!(error.fault(), Fault::Data, "{error}");
    }
    outcome
}

/// Makes the manifest that of the files as they are.
fn seal(folder: &Path) {
    let mut manifest = Manifest::parse(&fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
    for (name, entry) in &mut manifest.files {
        *entry = record(&folder.join(name)).unwrap();
    }
    fs::write(folder.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// A copy of a checkpoint below a folder.
fn copy_of(whole: &Path, into: &TempDir) -> PathBuf {
    let copy = into.path().join("step-00000003");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(whole).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    copy
}

#[test]
fn a_mutated_manifest_is_damage_or_says_the_same() {
    let temporary = TempDir::new().unwrap();
    let whole = whole(temporary.path());
    let original = fs::read(whole.join(MANIFEST)).unwrap();
    proptest!(ProptestConfig::with_cases(256), |(mutations in prop::collection::vec(mutation(), 1..4))| {
        let temporary = TempDir::new().unwrap();
        let folder = copy_of(&whole, &temporary);
        let mut bytes = original.clone();
        for mutation in &mutations {
            mutation.apply(&mut bytes, usize::MAX);
        }
        fs::write(folder.join(MANIFEST), &bytes).unwrap();
        if let Err(error) = read(&folder) {
            prop_assert!(matches!(error, CheckpointError::Damaged { .. }), "{}", error);
        } else {
            // White space, or a file that is left out and that nothing needs.
            let (now, then) = (Manifest::parse(&bytes).unwrap(), Manifest::parse(&original).unwrap());
            prop_assert!(now.files.iter().all(|(name, entry)| then.files.get(name) == Some(entry)));
        }
    });
}

/// Also with a manifest that fits the damage, so that the parsers behind it see the bytes.
#[test]
fn mutated_tensors_are_read_or_refused_by_name() {
    let temporary = TempDir::new().unwrap();
    let whole = whole(temporary.path());
    let files = prop::sample::select(vec![MODEL, TEACHER, "optimizer-0-of-1.safetensors"]);
    let cases = (files, any::<bool>(), prop::collection::vec(mutation(), 1..4));
    proptest!(ProptestConfig::with_cases(384), |((file, header, mutations) in cases)| {
        let temporary = TempDir::new().unwrap();
        let folder = copy_of(&whole, &temporary);
        let original = fs::read(folder.join(file)).unwrap();
        let mut bytes = original.clone();
        let reach = if header { 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize } else { usize::MAX };
        for mutation in &mutations {
            mutation.apply(&mut bytes, reach);
        }
        fs::write(folder.join(file), &bytes).unwrap();
        prop_assert!(read(&folder).is_err() || bytes == original, "the manifest does not notice a changed {}", file);
        seal(&folder);
        if let Err(error) = read(&folder) {
            let text = error.to_string();
            prop_assert!(text.contains(file) || text.contains("optimizer files"), "{}", text);
        }
    });
}

#[test]
fn a_manifest_that_names_what_is_not_a_file_of_its_folder_is_refused() {
    let temporary = TempDir::new().unwrap();
    let folder = whole(temporary.path());
    // The file is there and has the recorded hash: it is its place that is refused.
    let outside = temporary.path().join("x");
    fs::write(&outside, "outside").unwrap();
    let original = Manifest::parse(&fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
    for name in ["../x", &outside.to_string_lossy(), "./x", "..", ".", "", "a\\x", "a\0x"] {
        let mut manifest = original.clone();
        manifest.files.insert(name.to_owned(), record(&outside).unwrap());
        fs::write(folder.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        let error = Checkpoint::open(&folder).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("no file of the folder"), "{name:?}: {error}");
    }
}

#[test]
fn a_manifest_without_state_or_model_is_refused() {
    let temporary = TempDir::new().unwrap();
    let folder = whole(temporary.path());
    let original = Manifest::parse(&fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
    for name in [STATE, MODEL] {
        let mut manifest = original.clone();
        manifest.files.remove(name);
        fs::write(folder.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        let error = Checkpoint::open(&folder).unwrap_err().to_string();
        assert!(error.contains(&format!("does not name {name}")), "{error}");
    }
}

#[test]
fn the_best_checkpoint_is_found_by_the_file_that_names_it() {
    let temporary = TempDir::new().unwrap();
    let folder = whole(temporary.path());
    let best = temporary.path().join("best");
    assert!(latest_or_named(&best).is_err());
    fs::write(&best, r#"{"step": 3, "metric": "loss", "value": 0.5}"#).unwrap();
    assert_eq!(latest_or_named(&best).unwrap().folder(), folder);
    fs::write(&best, r#"{"step": 4, "metric": "loss", "value": 0.5}"#).unwrap();
    let error = latest_or_named(&best).unwrap_err().to_string();
    assert!(error.contains("step-00000004"), "{error}");
}
