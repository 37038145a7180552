//! The names a model knows: genes it reads, targets, contexts and kinds of perturbation.

use serde::{Deserialize, Serialize};
use syncyte_sharding::labels::Labels;

/// Names in the order of the model's inputs and tables. Stored in every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// Genes the encoder reads, in order.
    pub genes: Vec<String>,
    /// Genes that perturbations target, sorted.
    pub targets: Vec<String>,
    /// Contexts.
    pub contexts: Vec<String>,
    /// Kinds of perturbation.
    pub kinds: Vec<String>,
}

/// A name that the model does not know.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// A target gene, context or kind that is not in the vocabulary.
    #[error("{what} `{name}` is not in the model's vocabulary; it knows {known}")]
    Unknown {
        /// What was looked up.
        what: &'static str,
        /// The name.
        name: String,
        /// Some of the names there are.
        known: String,
    },
    /// More targets than the model has places for.
    #[error("perturbation `{perturbation}` has more than {limit} targets, the most that the model takes")]
    TooManyTargets {
        /// Name.
        perturbation: String,
        /// Places.
        limit: usize,
    },
    /// The data and the checkpoint differ.
    #[error("the checkpoint does not fit the data: {0}")]
    Mismatch(String),
}

impl Vocabulary {
    /// Everything that the genes and labels of a store name.
    pub fn of(genes: &[String], labels: &Labels) -> Self {
        let mut targets: Vec<String> = labels.perturbations.iter().flat_map(|p| p.targets.iter().cloned()).collect();
        targets.sort();
        targets.dedup();
        Self { genes: genes.to_vec(), targets, contexts: labels.contexts.clone(), kinds: labels.kinds.clone() }
    }

    /// Index of a target gene.
    ///
    /// # Errors
    /// When the gene is not a known target.
    pub fn target(&self, gene: &str) -> Result<i64, VocabularyError> {
        look_up("target gene", &self.targets, gene)
    }

    /// Index of a context.
    ///
    /// # Errors
    /// When the context is not known.
    pub fn context(&self, context: &str) -> Result<i64, VocabularyError> {
        look_up("context", &self.contexts, context)
    }

    /// Index of a kind of perturbation.
    ///
    /// # Errors
    /// When the kind is not known.
    pub fn kind(&self, kind: &str) -> Result<i64, VocabularyError> {
        look_up("kind of perturbation", &self.kinds, kind)
    }

    /// Checks that a model with this vocabulary can run on data with vocabulary `data`: same genes in the same
    /// order, and every target, context and kind known.
    ///
    /// # Errors
    /// The first difference, by name.
    pub fn fits(&self, data: &Self) -> Result<(), VocabularyError> {
        if self.genes.len() != data.genes.len() {
            return Err(VocabularyError::Mismatch(format!(
                "it reads {} genes, the store has {}{}",
                self.genes.len(),
                data.genes.len(),
                example_difference(&self.genes, &data.genes)
            )));
        }
        if let Some(at) = (0..self.genes.len()).find(|&i| self.genes[i] != data.genes[i]) {
            return Err(VocabularyError::Mismatch(format!(
                "gene {at} is `{}` in the checkpoint and `{}` in the store",
                self.genes[at], data.genes[at]
            )));
        }
        for (what, known, needed) in [
            ("target gene", &self.targets, &data.targets),
            ("context", &self.contexts, &data.contexts),
            ("kind of perturbation", &self.kinds, &data.kinds),
        ] {
            for name in needed {
                look_up(what, known, name)?;
            }
        }
        Ok(())
    }
}

fn look_up(what: &'static str, names: &[String], name: &str) -> Result<i64, VocabularyError> {
    names.iter().position(|known| known == name).map(|at| at as i64).ok_or_else(|| VocabularyError::Unknown {
        what,
        name: name.to_owned(),
        known: shorten(names),
    })
}

fn shorten(names: &[String]) -> String {
    let shown = names.iter().take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown} and {} more", names.len() - 8) } else { shown }
}

fn example_difference(model: &[String], data: &[String]) -> String {
    data.iter()
        .find(|gene| !model.contains(gene))
        .map(|gene| format!(" (for one, `{gene}` is not in the checkpoint)"))
        .or_else(|| {
            model
                .iter()
                .find(|gene| !data.contains(gene))
                .map(|gene| format!(" (for one, `{gene}` is not in the store)"))
        })
        .unwrap_or_default()
}
