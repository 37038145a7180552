//! The split file: JSON, with the folds of the cells as text and a hash over everything else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Condition, Fold, FoldCounts, Scheme, Split, SplitError, conditions};
use crate::labels::Labels;
use crate::store::CellStore;
use crate::whole_file;

const FORMAT: u32 = 1;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Cells in one letter: three folds in two bits each.
const CELLS_PER_LETTER: usize = 3;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitFile {
    format: u32,
    scheme: String,
    rule: String,
    seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold_out: Option<String>,
    data_hash: String,
    n_cells: usize,
    counts: BTreeMap<String, FoldCounts>,
    seen_classes: BTreeMap<String, [u64; 3]>,
    conditions: BTreeMap<String, Condition>,
    /// Folds of the cells in order: base-64 letters, three cells a letter, two bits a cell, low bits first;
    /// 0 train, 1 val, 2 test.
    folds: String,
    #[serde(default)]
    hash: String,
}

impl Split {
    /// Writes the split to `path`, beside it first and renamed when whole.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn save(&self, path: &Path) -> Result<(), SplitError> {
        let io = |source| SplitError::Io { path: path.to_owned(), source };
        let mut text = serde_json::to_string_pretty(&SplitFile { hash: self.hash.clone(), ..SplitFile::of(self) })?;
        text.push('\n');
        whole_file::write(path, text.as_bytes()).map_err(io)
    }

    /// Reads a split for an open store.
    ///
    /// # Errors
    /// As [`Split::load_for`].
    pub fn load(path: &Path, store: &CellStore) -> Result<Self, SplitError> {
        Self::load_for(path, store.path(), store.labels(), store.data_hash())
    }

    /// Reads a split for the store at `store` with these labels and hash.
    ///
    /// # Errors
    /// When the file is no split, was changed after it was made, belongs to another store, names an unknown
    /// scheme, or has an empty fold.
    pub fn load_for(path: &Path, store: &Path, labels: &Labels, data_hash: &str) -> Result<Self, SplitError> {
        let malformed = |what: String| SplitError::Malformed { path: path.to_owned(), what };
        let text = fs::read_to_string(path).map_err(|source| SplitError::Io { path: path.to_owned(), source })?;
        let file: SplitFile = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if file.format != FORMAT {
            return Err(malformed(format!("format {}, and this version reads format {FORMAT}", file.format)));
        }
        let scheme: Scheme = file.scheme.parse()?;
        let found = file.content_hash()?;
        if found != file.hash {
            return Err(SplitError::Tampered { path: path.to_owned(), recorded: file.hash, found });
        }
        if file.data_hash != data_hash {
            return Err(SplitError::OtherStore {
                path: path.to_owned(),
                store: store.to_owned(),
                split_hash: file.data_hash,
                store_hash: data_hash.to_owned(),
            });
        }
        let folds = decode(&file.folds, labels.n_cells()).map_err(malformed)?;
        let split = file.into_split(scheme, labels, folds).map_err(malformed)?;
        split.require_full_folds()?;
        Ok(split)
    }
}

/// SHA-256 over the content of the file without the hash itself.
pub(super) fn content_hash(split: &Split) -> Result<String, SplitError> {
    SplitFile::of(split).content_hash()
}

impl SplitFile {
    fn of(split: &Split) -> Self {
        let named = |fold: Fold| fold.name().to_owned();
        Self {
            format: FORMAT,
            scheme: split.scheme.name().to_owned(),
            rule: split.rule.clone(),
            seed: split.seed,
            hold_out: split.hold_out.clone(),
            data_hash: split.data_hash.clone(),
            n_cells: split.folds.len(),
            counts: Fold::ALL.into_iter().map(|fold| (named(fold), split.counts(fold))).collect(),
            seen_classes: [Fold::Val, Fold::Test].map(|fold| (named(fold), split.seen_classes(fold))).into(),
            conditions: split.conditions.clone(),
            folds: encode(&split.folds),
            hash: String::new(),
        }
    }

    fn content_hash(&self) -> Result<String, SplitError> {
        // The struct serialises in the order of its fields and its maps in the order of their keys.
        let content = SplitFile { hash: String::new(), ..self.clone() };
        let digest = Sha256::digest(serde_json::to_vec(&content)?);
        Ok(digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect())
    }

    /// The split with its tables counted anew, so that none of them can disagree with the cells.
    fn into_split(self, scheme: Scheme, labels: &Labels, folds: Vec<Fold>) -> Result<Split, String> {
        let (counts, conditions) = conditions::tabulate(labels, &folds);
        let split = Split {
            scheme,
            rule: self.rule.clone(),
            seed: self.seed,
            hold_out: self.hold_out.clone(),
            data_hash: self.data_hash.clone(),
            folds,
            counts,
            conditions,
            hash: self.hash.clone(),
        };
        let recounted = SplitFile::of(&split);
        let tables = [
            ("counts", recounted.counts == self.counts),
            ("conditions", recounted.conditions == self.conditions),
            ("seen_classes", recounted.seen_classes == self.seen_classes),
            ("n_cells", recounted.n_cells == self.n_cells),
        ];
        match tables.iter().find(|(_, agrees)| !agrees) {
            Some((table, _)) => Err(format!("`{table}` disagrees with `folds` and the labels of the store")),
            None => Ok(split),
        }
    }
}

fn hex_digit(nibble: u8) -> char {
    char::from(b"0123456789abcdef"[nibble as usize])
}

fn encode(folds: &[Fold]) -> String {
    let letter = |cells: &[Fold]| {
        let code = cells.iter().rev().fold(0_usize, |code, &fold| code << 2 | fold as usize);
        char::from(LETTERS[code])
    };
    folds.chunks(CELLS_PER_LETTER).map(letter).collect()
}

fn decode(text: &str, n_cells: usize) -> Result<Vec<Fold>, String> {
    if text.len() != n_cells.div_ceil(CELLS_PER_LETTER) {
        return Err(format!("`folds` has {} letters, which do not fit the {n_cells} cells of the store", text.len()));
    }
    let mut folds = Vec::with_capacity(n_cells + CELLS_PER_LETTER);
    for (at, letter) in text.bytes().enumerate() {
        let code = LETTERS.iter().position(|&known| known == letter);
        for place in 0..CELLS_PER_LETTER {
            let fold = code.and_then(|code| Fold::ALL.get(code >> (2 * place) & 3));
            folds.push(*fold.ok_or_else(|| format!("letter {at} of `folds` stands for no folds"))?);
        }
    }
    folds.truncate(n_cells);
    Ok(folds)
}
