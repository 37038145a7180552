//! Pretraining tasks: what the student sees, what its teacher sees, and what is asked of the predictor.
//!
//! Each reads like its method. Guarantee: the target is the teacher's, without gradient; what the student is given is made
//! of its own view alone.

mod augmentation;
mod gene_mask;
mod networks;
mod paired;

use std::fmt;

use syncyte_sharding::loader::RawBatch;
use tch::{Device, Tensor};
use toml::Table;

pub use augmentation::TwoViews;
pub use gene_mask::GeneMask;
pub use networks::Networks;
pub use paired::Paired;

use crate::batch::blocks::Blocks;
use crate::batch::query::EncodedQueries;
use crate::batch::view::View;
use crate::component::{Member, Role};
use crate::device::moved;
use crate::loss::Outputs;
use crate::model::Jepa;
use crate::reader::CellReader;

/// Which cells a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// All cells of the training fold.
    All,
    /// Its perturbed cells, each with a control partner of its context.
    Perturbed,
}

/// A pretraining task.
pub trait Pretext: fmt::Debug + Send + Sync {
    /// Which cells it trains on.
    fn cells(&self) -> Cells;

    /// What is predicted, in the words of a model card.
    fn predicts(&self) -> &'static str;

    /// Whether the predictor is told the condition of a cell; else it gets the null condition.
    fn is_conditioned(&self) -> bool;

    /// Whether it draws random views of cells.
    fn augments(&self) -> bool {
        false
    }

    /// Whether it asks for several targets of a cell, which only a pointer tells apart.
    fn needs_pointer(&self) -> bool {
        false
    }

    /// Model FLOPs of a step for each cell that the student sees, of which `genes` are read.
    fn flops(&self, model: &Jepa, genes: u64, frozen_encoder: bool) -> u64 {
        model.flops_per_pair(genes, frozen_encoder)
    }

    /// What both networks see of a batch, made on the loader's threads.
    ///
    /// # Errors
    /// A sentence on what is wrong with the batch.
    fn views(&self, batch: &RawBatch<'_>, reader: &CellReader) -> Result<Views, String>;

    /// The method: target from the teacher, context and prediction from the student.
    fn forward(&self, networks: &Networks<'_>, batch: &MicroBatch) -> Outputs {
        let target = networks.target(&batch.views.target);
        let context = networks.context(&batch.views.source, &batch.dropout);
        let prediction = networks.predict(&context, &batch.queries);
        Outputs { context, prediction, target }
    }
}

/// What the networks see of the cells of a micro-batch.
#[derive(Debug)]
pub struct Views {
    /// The student's cells.
    pub source: View,
    /// The teacher's cells: one for each of the student's, or one for each block of each of them.
    pub target: View,
    /// What is asked for, where it is blocks of genes.
    pub blocks: Option<Blocks>,
}

/// A micro-batch.
#[derive(Debug)]
pub struct MicroBatch {
    /// What the networks see.
    pub views: Views,
    /// What is asked about each cell.
    pub queries: EncodedQueries,
    /// One i64 a cell that dropout masks follow from, `[B]`.
    pub dropout: Tensor,
}

impl MicroBatch {
    /// The same on a device.
    #[must_use]
    pub fn on(self, device: Device) -> Self {
        if device == Device::Cpu {
            return self;
        }
        Self {
            views: Views {
                source: self.views.source.on(device),
                target: self.views.target.on(device),
                blocks: self.views.blocks.map(|blocks| blocks.on(device)),
            },
            queries: self.queries.on(device),
            dropout: moved(&self.dropout, device),
        }
    }
}

impl Role for dyn Pretext {
    const SECTION: &'static str = "objective.tasks";
    type Build = fn(&Table) -> Result<Box<dyn Pretext>, String>;

    fn table() -> &'static [Member<Self>] {
        static TABLE: &[Member<dyn Pretext>] = &[
            Member::<dyn Pretext>::new::<TwoViews>("augmentation", "J2", augmentation::build),
            Member::<dyn Pretext>::new::<Paired>("paired", "J3", paired::build),
            Member::<dyn Pretext>::new::<GeneMask>("gene_mask", "J1", gene_mask::build),
        ];
        TABLE
    }
}
