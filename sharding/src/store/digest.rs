//! Digests of content: of every block of rows, and of the whole store.
//!
//! Guarantee: a digest depends on the decoded content only, not on chunks, shards or codecs.

use std::ops::Range;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::info::ValueKind;
use crate::csr::Csr;
use crate::labels::Labels;

/// SHA-256 of a block of rows.
pub(crate) type BlockDigest = [u8; 32];

/// Digests blocks of `chunk_rows` rows while rows stream by.
pub(crate) struct BlockHasher {
    chunk_rows: usize,
    so_far: HashedSoFar,
}

/// Digests of the blocks that are complete, and the bytes of the one that is not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HashedSoFar {
    pub(crate) digests: Vec<BlockDigest>,
    pub(crate) open: Vec<u8>,
    pub(crate) open_rows: usize,
}

impl BlockHasher {
    pub(crate) fn new(chunk_rows: usize) -> Self {
        Self::resume(chunk_rows, HashedSoFar::default())
    }

    pub(crate) fn resume(chunk_rows: usize, so_far: HashedSoFar) -> Self {
        Self { chunk_rows, so_far }
    }

    pub(crate) fn so_far(&self) -> &HashedSoFar {
        &self.so_far
    }

    pub(crate) fn update(&mut self, rows: &Csr) {
        let (n_rows, open) = (rows.n_rows(), self.so_far.open_rows);
        let head = if open == 0 { 0 } else { n_rows.min(self.chunk_rows - open) };
        self.add(rows, 0..head);
        let whole = (n_rows - head) / self.chunk_rows;
        let block = |at: usize| head + at * self.chunk_rows..head + (at + 1) * self.chunk_rows;
        let digests = (0..whole).into_par_iter().map_init(Vec::new, |bytes: &mut Vec<u8>, at| -> BlockDigest {
            bytes.clear();
            block(at).for_each(|row| push_row(bytes, rows, row));
            Sha256::digest(&*bytes).into()
        });
        self.so_far.digests.par_extend(digests);
        self.add(rows, head + whole * self.chunk_rows..n_rows);
    }

    /// Adds rows to the block that is open, which they do not go beyond.
    fn add(&mut self, rows: &Csr, range: Range<usize>) {
        self.so_far.open_rows += range.len();
        for row in range {
            push_row(&mut self.so_far.open, rows, row);
        }
        if self.so_far.open_rows == self.chunk_rows {
            self.close();
        }
    }

    fn close(&mut self) {
        let HashedSoFar { digests, open, open_rows } = &mut self.so_far;
        digests.push(Sha256::digest(&*open).into());
        open.clear();
        *open_rows = 0;
    }

    /// The digests of all blocks, the last of which may be short.
    pub(crate) fn finish(mut self) -> Vec<BlockDigest> {
        if self.so_far.open_rows > 0 {
            self.close();
        }
        self.so_far.digests
    }
}

/// Appends what a row is hashed as.
fn push_row(bytes: &mut Vec<u8>, rows: &Csr, row: usize) {
    let (indices, values) = rows.row(row);
    bytes.extend_from_slice(&(indices.len() as u64).to_le_bytes());
    push_words(bytes, indices, u32::to_le_bytes);
    push_words(bytes, values, f32::to_le_bytes);
}

/// Sum of the values of a row, the same on every machine. An empty row has +0.
pub(crate) fn row_sum(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |sum, &value| sum + f64::from(value)) as f32
}

fn push_words<T: Copy>(bytes: &mut Vec<u8>, words: &[T], encode: impl Fn(T) -> [u8; 4]) {
    let start = bytes.len();
    bytes.resize(start + 4 * words.len(), 0);
    for (slot, &word) in bytes[start..].chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&encode(word));
    }
}

/// SHA-256, in hex, over kind of values, shape, genes, labels and the digests of all blocks.
pub(crate) fn data_hash(
    kind: ValueKind,
    genes: &[String],
    labels: &Labels,
    nnz: u64,
    blocks: &[BlockDigest],
) -> String {
    let mut hasher = Sha256::new();
    let kind = match kind {
        ValueKind::Counts => "counts",
        ValueKind::Log1p => "log1p",
    };
    hash_texts(&mut hasher, ["syncyte store 1", kind]);
    for extent in [labels.n_cells() as u64, genes.len() as u64, nnz] {
        hasher.update(extent.to_le_bytes());
    }
    hash_texts(&mut hasher, genes);
    hash_texts(&mut hasher, labels.perturbations.iter().map(|perturbation| &perturbation.name));
    for perturbation in &labels.perturbations {
        hash_texts(&mut hasher, &perturbation.targets);
    }
    for names in [&labels.contexts, &labels.batches, &labels.kinds] {
        hash_texts(&mut hasher, names);
    }
    let mut bytes = Vec::new();
    for codes in [&labels.perturbation, &labels.context, &labels.batch, &labels.kind] {
        bytes.clear();
        push_words(&mut bytes, codes, u32::to_le_bytes);
        hasher.update(&bytes);
    }
    for block in blocks {
        hasher.update(block);
    }
    hex(&hasher.finalize())
}

fn hash_texts<T: AsRef<str>>(hasher: &mut Sha256, texts: impl IntoIterator<Item = T>) {
    let mut count: u64 = 0;
    for text in texts {
        hasher.update((text.as_ref().len() as u64).to_le_bytes());
        hasher.update(text.as_ref().as_bytes());
        count += 1;
    }
    hasher.update(count.to_le_bytes());
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    bytes.iter().flat_map(digits).collect()
}
