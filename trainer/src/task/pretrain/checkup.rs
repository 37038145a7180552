//! The collapse monitors of a running pretraining, on validation cells.

use syncyte_sharding::split::Fold;
use tch::{Device, Tensor};

use super::Trainer;
use crate::cells::dense;
use crate::config::PredictorKind;
use crate::device::moved;
use crate::model::layer::pool;
use crate::model::perturbation::{EncodedQueries, Query};
use crate::monitor::{Health, Views, health};
use crate::task::TaskError;
use crate::task::curriculum::Phase;
use crate::task::data::gather;

/// Validation cells that the monitors look at.
const MONITOR_CELLS: usize = 256;
/// Perturbations at which the monitors ask the predictor.
const MONITOR_CONDITIONS: usize = 4;

impl Trainer<'_> {
    /// Collapse monitors on the first validation cells (rank 0 alone; no communication); none where there are no such cells.
    pub(super) fn health(&self) -> Result<Health, TaskError> {
        let rows: Vec<u64> = self.data.split.rows(Fold::Val).into_iter().take(MONITOR_CELLS).collect();
        if rows.is_empty() {
            return Ok(Health::default());
        }
        let cells = gather(&self.data.store, &rows)?;
        let x = moved(&dense(&self.data.store, &rows, &cells), self.device);
        let (model, params) = (&self.learner.model, &self.learner.state.params);
        let labels = self.data.store.labels();
        let kind = &labels.kinds[labels.kind.first().copied().unwrap_or(0) as usize];
        let predictions = labels
            .perturbations
            .iter()
            .filter(|p| !p.is_control())
            .take(MONITOR_CONDITIONS)
            .map(|perturbation| {
                let queries: Vec<_> = rows
                    .iter()
                    .map(|&row| Query::Known {
                        perturbation,
                        context: &labels.contexts[labels.context[row as usize] as usize],
                        kind,
                    })
                    .collect();
                let queries = EncodedQueries::new(&queries, &self.data.vocabulary, self.device)?;
                let (_, prediction) = tch::no_grad(|| model.predict(params, &x, &queries, None));
                let pooled = self.config.model.predictor.kind == PredictorKind::R2;
                Ok(if pooled { pool(&prediction) } else { prediction }.to_device(Device::Cpu))
            })
            .collect::<Result<Vec<_>, TaskError>>()?;
        let teacher = self.learner.state.teacher.as_ref().unwrap_or(params);
        let embed = |encoder| tch::no_grad(|| model.embed(encoder, &x).to_device(Device::Cpu));
        let (student, teacher) = (embed(params), embed(teacher));
        let paired = self.curriculum.place(self.learner.state.step().saturating_sub(1)).phase == Phase::Paired;
        let predictions = (paired && predictions.len() > 1).then(|| Tensor::stack(&predictions, 1));
        Ok(health(&Views { student: &student, teacher: &teacher, predictions: predictions.as_ref() }))
    }
}
