//! Which genes of a vocabulary were measured.

use super::GeneMap;

/// A set of genes of a vocabulary: one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneMask {
    len: usize,
    words: Vec<u64>,
}

/// What is known of one gene in one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measurement {
    /// Measured, with this value.
    Value(f32),
    /// Measured, and nothing found.
    Zero,
    /// Not measured: nothing is known.
    NotMeasured,
}

/// The measured genes of every row of a batch: one mask a data set, not one a row.
#[derive(Clone, Copy, Debug)]
pub struct BatchMasks<'a> {
    datasets: &'a [GeneMap],
    dataset_of_row: &'a [u32],
}

impl GeneMask {
    pub(super) fn of(len: usize, ids: &[u32]) -> Self {
        let mut words = vec![0; len.div_ceil(64)];
        for &id in ids {
            words[id as usize / 64] |= 1_u64 << (id % 64);
        }
        Self { len, words }
    }

    /// Genes of the vocabulary.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the vocabulary is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of measured genes.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether a gene was measured.
    ///
    /// # Panics
    /// When `id` is not below [`GeneMask::len`].
    pub fn contains(&self, id: u32) -> bool {
        assert!((id as usize) < self.len, "gene {id} of a vocabulary of {}", self.len);
        self.words[id as usize / 64] >> (id % 64) & 1 == 1
    }

    /// Ids of the measured genes, rising.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        (0..self.len as u32).filter(|&id| self.contains(id))
    }

    /// The bits, gene 0 lowest in word 0: what a dense encoder is handed.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Zeroes what stands in the place of genes that were not measured.
    ///
    /// # Panics
    /// When there is not one value a gene.
    pub fn clear_missing(&self, values: &mut [f32]) {
        assert_eq!(values.len(), self.len, "a row of values of another vocabulary");
        for (id, value) in (0_u32..).zip(values) {
            if !self.contains(id) {
                *value = 0.0;
            }
        }
    }

    /// What is known of a gene in whose place `value` stands; what stands in the place of a gene that was not
    /// measured has no meaning.
    pub fn read(&self, id: u32, value: f32) -> Measurement {
        match (self.contains(id), value) {
            (false, _) => Measurement::NotMeasured,
            (true, 0.0) => Measurement::Zero,
            (true, value) => Measurement::Value(value),
        }
    }
}

impl<'a> BatchMasks<'a> {
    pub(super) fn new(datasets: &'a [GeneMap], dataset_of_row: &'a [u32]) -> Self {
        Self { datasets, dataset_of_row }
    }

    /// Rows of the batch.
    pub fn n_rows(&self) -> usize {
        self.dataset_of_row.len()
    }

    /// The genes that were measured in a row.
    ///
    /// # Panics
    /// When there is no such row, or its data set is none of the alignment.
    pub fn row(&self, row: usize) -> &'a GeneMask {
        self.datasets[self.dataset_of_row[row] as usize].measured()
    }

    /// The genes that every row of the batch measures.
    pub fn common(&self) -> Option<GeneMask> {
        let mut masks = self.dataset_of_row.iter().map(|&dataset| self.datasets[dataset as usize].measured());
        let mut common = masks.next()?.clone();
        for mask in masks {
            common.words.iter_mut().zip(&mask.words).for_each(|(word, other)| *word &= other);
        }
        Some(common)
    }
}
