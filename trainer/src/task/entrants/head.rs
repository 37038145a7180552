//! The fine-tuned heads.

use std::sync::Arc;

use syncyte_evaluation::benchmark::method::{Method, MethodError, Prediction, Query};
use syncyte_evaluation::benchmark::results::MethodInfo;
use syncyte_sharding::labels::Perturbation;
use tch::{Device, Kind, Tensor};

use super::{Base, Turns, other, to_tensor};
use crate::checkpoint::{Checkpoint, MODEL, Stage};
use crate::params::{ParamSet, Registry};
use crate::perturbation::Condition;
use crate::task::finetune::HeadModel;
use crate::training::TaskError;
use crate::training::data::RunData;

/// Which of the two heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Prototype,
    Set,
}

/// A fine-tuned head.
struct HeadMethod {
    model: Arc<Turns<Heads>>,
    head: Head,
    split_hash: String,
    encoder: String,
}

/// Both heads.
struct Heads {
    base: Base,
    model: HeadModel,
    params: ParamSet,
}

/// Both heads of a fine-tuning checkpoint.
///
/// # Errors
/// When the checkpoint is of another stage or does not fit the data.
pub(in crate::task) fn entrants(checkpoint: &Checkpoint, data: &RunData) -> Result<Vec<Box<dyn Method>>, TaskError> {
    checkpoint.require_stage(Stage::Finetune)?;
    let base = Base::load(checkpoint, data)?;
    let mut registry = Registry::default();
    let model = HeadModel::new(&mut registry, &base.frozen, &checkpoint.state.config)?;
    let params = ParamSet::zeros(&registry.layout(), Device::Cpu);
    checkpoint.load(MODEL, &params)?;
    let (split_hash, encoder) = (checkpoint.state.split_hash.clone(), base.frozen.parent.clone());
    let model = Arc::new(Turns::new(Heads { base, model, params }));
    let of = |head| -> Box<dyn Method> {
        let (split_hash, encoder) = (split_hash.clone(), encoder.clone());
        Box::new(HeadMethod { model: Arc::clone(&model), head, split_hash, encoder })
    };
    Ok([Head::Set, Head::Prototype].map(of).into())
}

impl Heads {
    fn predict(&self, head: Head, query: &Query<'_>) -> Result<Prediction, TaskError> {
        let x = to_tensor(query.control);
        let z = self.base.embed(&x);
        let resolved = self.base.asked.resolve(query.perturbation, query.control.nrows());
        let moved = tch::no_grad(|| -> Result<Tensor, TaskError> {
            let mut groups: Vec<(Perturbation, Vec<i64>)> = Vec::new();
            for (cell, perturbation) in resolved.perturbations.iter().enumerate() {
                match groups.iter_mut().find(|(known, _)| known == perturbation) {
                    Some((_, cells)) => cells.push(cell as i64),
                    None => groups.push((perturbation.clone(), vec![cell as i64])),
                }
            }
            // The prototype of the query is the mean of all its control cells, whichever group they are in.
            let prototype = z.mean_dim([0_i64].as_slice(), true, Kind::Float);
            let mut moved = z.shallow_clone();
            for (perturbation, cells) in groups {
                let queries = self.base.encode(query, &[perturbation])?;
                let condition = self.model.condition.forward(&self.params, &queries);
                let cells = Tensor::from_slice(&cells);
                let bag = z.index_select(0, &cells);
                moved = moved.index_copy(0, &cells, &self.move_bag(head, &bag, &prototype, &condition));
            }
            Ok(moved)
        })?;
        self.base.prediction(&x, &z, &moved, resolved.flags)
    }

    fn move_bag(&self, head: Head, bag: &Tensor, prototype: &Tensor, condition: &Condition) -> Tensor {
        let shift = self.model.heads.shift(&self.params, prototype, condition);
        match head {
            Head::Prototype => bag + shift,
            Head::Set => self.model.heads.set(&self.params, &bag.unsqueeze(0), &shift, condition).squeeze_dim(0),
        }
    }
}

impl Method for HeadMethod {
    fn info(&self) -> MethodInfo {
        let (name, title, description) = match self.head {
            Head::Prototype => (
                "jepa_prototype",
                "JEPA prototype head",
                "Shifts control cells in the frozen JEPA embedding by a learned change of the mean state (J4); linear decoder.",
            ),
            Head::Set => (
                "jepa_set",
                "JEPA set head",
                "Moves a bag of control cells in the frozen JEPA embedding, trained with the energy distance (J5); linear decoder.",
            ),
        };
        let (name, title, description) = (name.into(), title.into(), description.into());
        MethodInfo { name, title, description, baseline: false, informed: true }
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(&self.split_hash)
    }

    fn encoder(&self) -> Option<&str> {
        Some(&self.encoder)
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        self.model.take(|heads| heads.predict(self.head, query)).map_err(other)
    }
}
