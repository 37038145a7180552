//! What a batch is turned into on the loader's threads, besides its rows as stored.

use std::any::Any;
use std::sync::Arc;

use syncyte_kernels::expression::{self, Genes};
use syncyte_kernels::number::Bf16;
use syncyte_kernels::rows::Scale;

use super::pool::{Pool, Pooled};
use super::{LoaderConfigError, RowReader};
use crate::block::{Block, Numbers};
use crate::expression::log_normalise;

/// A number added to the standard deviation of token values.
const TOKEN_EPSILON: f32 = 1e-6;

/// What to make of every batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Form {
    /// Nothing: the rows as stored are the batch.
    #[default]
    Csr,
    /// Dense log-normalised expression (D4).
    Dense {
        /// Columns of the store, in the order of the dense columns; nothing for all in their order.
        genes: Option<Vec<u32>>,
        /// Whether in bfloat16 and not in single precision.
        half: bool,
    },
    /// Ragged tokens (D8): the genes of a cell that are not zero, and their values `(v - mean) / (sd + 1e-6)`.
    Tokens {
        /// Mean of the values over the training cells.
        mean: f32,
        /// Their standard deviation.
        sd: f32,
        /// Whether `v = ln(1 + x)` of the counts as they are, and not of those scaled to 10⁴ (D4).
        raw: bool,
    },
}

/// A batch as it was read.
#[derive(Clone, Copy, Debug)]
pub struct RawBatch<'a> {
    /// Step of the run.
    pub step: u64,
    /// Rows of the store.
    pub rows: &'a [u64],
    /// Their expression, row for row.
    pub cells: &'a Block,
    /// Rows of the control partners and their expression, where the request had any.
    pub partners: Option<(&'a [u64], &'a Block)>,
}

/// Makes of a batch what a step uses, on the loader's threads.
pub trait Prepare: Send + Sync {
    /// What a step uses of a batch: a pure function of it.
    ///
    /// # Errors
    /// A sentence on what is wrong with the batch, which ends the loader.
    fn prepare(&self, batch: &RawBatch<'_>) -> Result<Box<dyn Any + Send>, String>;
}

/// Dense rows.
#[derive(Debug, Default)]
pub struct Dense {
    /// Columns of a row.
    pub n_cols: usize,
    /// The rows, one after the other, where they are in single precision.
    pub single: Vec<f32>,
    /// The rows, one after the other, where they are in bfloat16.
    pub half: Vec<Bf16>,
}

/// What a batch was turned into.
#[derive(Debug)]
pub(super) enum Formed {
    Nothing,
    Dense(Pooled<Dense>),
    Tokens(Pooled<Block>),
}

/// Turns batches into a form.
pub(super) struct Former {
    form: Form,
    /// Place of every column of the store in a dense row.
    places: Vec<u32>,
    width: usize,
    dense: Arc<Pool<Dense>>,
    tokens: Arc<Pool<Block>>,
}

impl Former {
    pub(super) fn new(form: &Form, n_genes: usize) -> Result<Self, LoaderConfigError> {
        let (mut places, mut width) = (Vec::new(), n_genes);
        if let Form::Dense { genes: Some(genes), .. } = form {
            places = vec![expression::SKIP; n_genes];
            width = genes.len();
            for (place, &gene) in genes.iter().enumerate() {
                match places.get_mut(gene as usize) {
                    Some(slot) if *slot == expression::SKIP => *slot = place as u32,
                    _ => return Err(LoaderConfigError::Gene { gene, genes: n_genes }),
                }
            }
        }
        Ok(Self { form: form.clone(), places, width, dense: Arc::default(), tokens: Arc::default() })
    }

    /// Buffers made so far.
    pub(super) fn made(&self) -> u64 {
        self.dense.made() + self.tokens.made()
    }

    /// The form of a block whose rows are `rows` of the store.
    pub(super) fn form(&self, reader: &impl RowReader, rows: &[u64], block: &Block) -> Result<Formed, String> {
        if rows.is_empty() {
            return Ok(Formed::Nothing);
        }
        Ok(match &self.form {
            Form::Csr => Formed::Nothing,
            Form::Dense { half, .. } => Formed::Dense(self.dense(reader, rows, block, *half)?),
            Form::Tokens { mean, sd, raw } => {
                let factors = if *raw { None } else { factors(reader, rows, block) };
                let logarithms = !reader.is_log_normalised();
                Formed::Tokens(self.tokens(block, logarithms, factors.as_deref(), (*mean, *sd + TOKEN_EPSILON)))
            }
        })
    }

    fn dense(&self, reader: &impl RowReader, rows: &[u64], block: &Block, half: bool) -> Result<Pooled<Dense>, String> {
        let mut dense = self.dense.take();
        dense.n_cols = self.width;
        let totals = totals(reader, rows, block);
        let scale = totals.as_deref().map_or(Scale::LogNormalised, Scale::Library);
        let genes =
            if self.places.is_empty() { Genes::All(self.width) } else { Genes::Places(&self.places, self.width) };
        let length = rows.len() * self.width;
        let done = if half {
            dense.half.resize(length, Bf16::default());
            log_normalise(block, scale, genes, &mut dense.half)
        } else {
            dense.single.resize(length, 0.0);
            log_normalise(block, scale, genes, &mut dense.single)
        };
        done.map_err(|error| error.to_string())?;
        Ok(dense)
    }

    fn tokens(
        &self,
        block: &Block,
        logarithms: bool,
        factors: Option<&[f32]>,
        (mean, sd): (f32, f32),
    ) -> Pooled<Block> {
        let mut tokens = self.tokens.take();
        tokens.n_cols = block.n_cols;
        tokens.starts.clone_from(&block.starts);
        tokens.columns.clone_from(&block.columns);
        let mut values = match std::mem::take(&mut tokens.values) {
            Numbers::F32(values) => values,
            _ => Vec::new(),
        };
        values.clear();
        for row in 0..block.n_rows() {
            let start = values.len();
            block.values.extend_f32(block.span(row), &mut values);
            let factor = factors.map_or(1.0, |factors| factors[row]);
            for value in &mut values[start..] {
                let logarithm = if logarithms { (*value * factor).ln_1p() } else { *value };
                *value = (logarithm - mean) / sd;
            }
        }
        tokens.values = Numbers::F32(values);
        tokens
    }
}

/// Library sizes of rows: those of the store, else the sums of what is stored; nothing for logarithms.
fn totals(reader: &impl RowReader, rows: &[u64], block: &Block) -> Option<Vec<f32>> {
    let total = |(at, &row): (usize, &u64)| reader.library_size(row as usize).unwrap_or_else(|| sum(block, at));
    (!reader.is_log_normalised()).then(|| rows.iter().enumerate().map(total).collect())
}

fn sum(block: &Block, row: usize) -> f32 {
    block.span(row).map(|at| block.values.get(at)).sum::<f64>() as f32
}

fn factors(reader: &impl RowReader, rows: &[u64], block: &Block) -> Option<Vec<f32>> {
    let factor = |total: f32| if total > 0.0 { expression::TARGET / total } else { 0.0 };
    totals(reader, rows, block).map(|totals| totals.into_iter().map(factor).collect())
}
