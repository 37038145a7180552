//! Student and teacher, as a pretraining task uses them in one forward pass.

use std::cell::RefCell;

use tch::Tensor;

use crate::batch::blocks::Blocks;
use crate::batch::query::EncodedQueries;
use crate::batch::view::{State, View};
use crate::cut::Cut;
use crate::layer::dropout::DropoutKeys;
use crate::model::{ENCODER, Jepa};
use crate::params::ParamSet;

/// The networks of one forward pass.
#[derive(Debug)]
pub struct Networks<'a> {
    model: &'a Jepa,
    student: &'a ParamSet,
    teacher: &'a ParamSet,
    /// Whether the encoder stays as it is: it then runs as at inference.
    frozen: bool,
    /// Whether the graph is to be cut behind the encoder.
    cut: bool,
    seam: RefCell<Option<Cut>>,
}

impl<'a> Networks<'a> {
    /// The networks of a training state; `frozen` says that the encoder stays as it is, `cut` that the graph may be cut.
    pub fn new(model: &'a Jepa, student: &'a ParamSet, teacher: &'a ParamSet, frozen: bool, cut: bool) -> Self {
        Self { model, student, teacher, frozen, cut, seam: RefCell::new(None) }
    }

    /// The teacher's states, without gradient.
    pub fn target(&self, cells: &View) -> State {
        tch::no_grad(|| self.model.encoder.forward(self.teacher, cells, None))
    }

    /// The student's states; `dropout` has one key a cell.
    pub fn context(&self, cells: &View, dropout: &Tensor) -> State {
        if self.frozen {
            return tch::no_grad(|| self.model.encoder.forward(self.student, cells, None));
        }
        let context = self.model.encoder.forward(self.student, cells, Some(&DropoutKeys { rows: dropout }));
        if !self.cut || !context.values().requires_grad() {
            return context;
        }
        let output = context.values().shallow_clone();
        let leaf = output.detach().set_requires_grad(true);
        self.seam.replace(Some(Cut { output, leaf: leaf.shallow_clone(), group: ENCODER }));
        context.with(leaf)
    }

    /// What is predicted from states, under what is asked.
    pub fn predict(&self, context: &State, queries: &EncodedQueries) -> State {
        self.model.predict_from(self.student, context, queries)
    }

    /// What is predicted from states for each block of genes, the blocks of a cell one behind the other.
    pub fn predict_blocks(&self, context: &State, queries: &EncodedQueries, blocks: &Blocks) -> State {
        self.model.predict_blocks(self.student, context, queries, blocks)
    }

    /// Where the graph was cut.
    pub fn into_cut(self) -> Option<Cut> {
        self.seam.into_inner()
    }
}
