//! One vocabulary of genes over several data sets (D9).
//!
//! Guarantee: the vocabulary is a function of the sets of names alone, not of the order of the data sets or of
//! their columns. It holds the genes of every data set; those that all of them measure come first (the core). Of
//! every cell and gene it is known whether the gene was measured with a value, measured as zero, or not measured;
//! a gene that a data set lacks is never taken for a zero.

mod mask;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use thiserror::Error;

pub use mask::{BatchMasks, GeneMask, Measurement};

use super::names::{is_ensembl, vocabulary_key};
use crate::csr::Csr;

/// What to do with columns of one data set whose names are equal after normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// Refuse them, by name.
    #[default]
    Refuse,
    /// Add them up: right for counts, not for logarithms.
    Sum,
}

/// Why data sets cannot be aligned.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AlignmentError {
    /// There is nothing to align.
    #[error("alignment of genes: no data set given")]
    Empty,
    /// Two columns of a data set are one gene.
    #[error(
        "{dataset}: columns `{first}` and `{second}` are both gene {key} of the vocabulary; keep one of them, or ask \
         for the sum of such columns"
    )]
    Duplicate {
        /// The data set.
        dataset: String,
        /// Name of the first column.
        first: String,
        /// Name of the second.
        second: String,
        /// Their common name.
        key: String,
    },
    /// No gene is measured by all data sets.
    #[error("no gene is measured by all data sets ({spellings}); import them with --gene-key so that all use symbols")]
    NoCore {
        /// How every data set spells its genes.
        spellings: String,
    },
}

/// The genes of several data sets; their ids are their positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    names: Vec<String>,
    core: usize,
    ids: HashMap<String, u32>,
}

/// Where the columns of one data set are in the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneMap {
    name: String,
    ids: Vec<u32>,
    measured: GeneMask,
}

/// Several data sets on one vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    vocabulary: Vocabulary,
    datasets: Vec<GeneMap>,
}

impl Vocabulary {
    /// Names in the order of their ids: upper case, Ensembl versions cut off; core and rest each in rising order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of genes that every data set measures: the ids below it.
    pub fn n_core(&self) -> usize {
        self.core
    }

    /// Number of genes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no genes.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Id of a gene, in any of its spellings.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(&vocabulary_key(name)).copied()
    }

    fn of(datasets: &[HashSet<String>]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for key in datasets.iter().flatten() {
            *counts.entry(key).or_default() += 1;
        }
        let with = |core: bool| {
            counts
                .iter()
                .filter(move |&(_, &count)| (count == datasets.len()) == core)
                .map(|(key, _)| (*key).to_owned())
        };
        let mut names: Vec<String> = with(true).collect();
        let core = names.len();
        names.extend(with(false));
        let ids = (0_u32..).zip(&names).map(|(id, name)| (name.clone(), id)).collect();
        Self { names, core, ids }
    }
}

impl GeneMap {
    /// Name of the data set.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of every column in the vocabulary.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The genes of the vocabulary that the data set measures.
    pub fn measured(&self) -> &GeneMask {
        &self.measured
    }

    /// A block of the data set on the columns of the vocabulary, which rise within every row; values of columns
    /// that are one gene are added up.
    ///
    /// # Panics
    /// When a column of the block is none of the data set.
    pub fn translate(&self, rows: &Csr) -> Csr {
        let mut translated = Csr::empty(self.measured.len());
        let mut row_values: Vec<(u32, f32)> = Vec::new();
        for row in 0..rows.n_rows() {
            let (columns, values) = rows.row(row);
            row_values.clear();
            row_values.extend(columns.iter().zip(values).map(|(&column, &value)| (self.ids[column as usize], value)));
            row_values.sort_by_key(|(id, _)| *id);
            row_values.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 += next.1;
                }
                same
            });
            let (columns, values): (Vec<u32>, Vec<f32>) = row_values.iter().copied().unzip();
            translated.push_row(&columns, &values);
        }
        translated
    }
}

impl Alignment {
    /// Aligns data sets, each given by its name and the names of its columns.
    ///
    /// # Errors
    /// When there is no data set, columns of one are the same gene and `duplicates` refuses them, or no gene is
    /// common to all.
    pub fn new(datasets: &[(&str, &[String])], duplicates: Duplicates) -> Result<Self, AlignmentError> {
        if datasets.is_empty() {
            return Err(AlignmentError::Empty);
        }
        let keys: Vec<Vec<String>> =
            datasets.iter().map(|(_, names)| names.iter().map(|name| vocabulary_key(name)).collect()).collect();
        if duplicates == Duplicates::Refuse {
            datasets
                .iter()
                .zip(&keys)
                .try_for_each(|(&(name, columns), keys)| refuse_duplicates(name, columns, keys))?;
        }
        let sets: Vec<HashSet<String>> = keys.iter().map(|keys| keys.iter().cloned().collect()).collect();
        let vocabulary = Vocabulary::of(&sets);
        if vocabulary.core == 0 {
            return Err(AlignmentError::NoCore { spellings: spellings(datasets) });
        }
        let map = |(&(name, _), keys): (&(&str, &[String]), &Vec<String>)| {
            let ids: Vec<u32> = keys.iter().map(|key| vocabulary.ids[key]).collect();
            GeneMap { name: name.to_owned(), measured: GeneMask::of(vocabulary.len(), &ids), ids }
        };
        let datasets = datasets.iter().zip(&keys).map(map).collect();
        Ok(Self { vocabulary, datasets })
    }

    /// The common vocabulary.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The data sets, in the order given.
    pub fn datasets(&self) -> &[GeneMap] {
        &self.datasets
    }

    /// What is measured in a batch whose row `i` comes from data set `dataset_of_row[i]`.
    pub fn masks<'a>(&'a self, dataset_of_row: &'a [u32]) -> BatchMasks<'a> {
        BatchMasks::new(&self.datasets, dataset_of_row)
    }
}

fn refuse_duplicates(dataset: &str, columns: &[String], keys: &[String]) -> Result<(), AlignmentError> {
    let mut first: HashMap<&str, &String> = HashMap::new();
    for (column, key) in columns.iter().zip(keys) {
        if let Some(earlier) = first.insert(key, column) {
            return Err(AlignmentError::Duplicate {
                dataset: dataset.to_owned(),
                first: earlier.clone(),
                second: column.clone(),
                key: key.clone(),
            });
        }
    }
    Ok(())
}

/// How the data sets spell their genes, as a clause.
fn spellings(datasets: &[(&str, &[String])]) -> String {
    let spelling = |(name, columns): &(&str, &[String])| {
        let ensembl = columns.iter().filter(|column| is_ensembl(column)).count();
        let kind = if 2 * ensembl > columns.len() { "Ensembl identifiers" } else { "symbols" };
        let example = columns.first().map_or("", String::as_str);
        format!("{name}: {kind} such as `{example}`")
    };
    datasets.iter().map(spelling).collect::<Vec<_>>().join("; ")
}
