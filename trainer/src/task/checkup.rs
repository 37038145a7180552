//! The collapse monitors of a running pretraining, on validation cells.

use syncyte_sharding::split::Fold;
use tch::{Device, Tensor};

use crate::batch::query::{EncodedQueries, Query};
use crate::batch::view::Input;
use crate::engine::FlatState;
use crate::model::Jepa;
use crate::monitor::{Health, Views, health};
use crate::reader::view;
use crate::training::TaskError;
use crate::training::data::{RunData, gather};

/// Validation cells that the monitors look at.
const MONITOR_CELLS: usize = 256;
/// Perturbations at which the monitors ask the predictor.
const MONITOR_CONDITIONS: usize = 4;

/// Looks at a model from time to time, always at the same cells.
pub(super) struct Checkup {
    data: RunData,
    input: Input,
    device: Device,
    rows: Vec<u64>,
}

impl Checkup {
    pub(super) fn new(data: &RunData, input: Input, device: Device) -> Self {
        let rows = spread(&data.split.rows(Fold::Val), MONITOR_CELLS);
        Self { data: data.clone(), input, device, rows }
    }

    /// Collapse monitors on some validation cells (no communication); none where there are no such cells. `conditioned`
    /// says whether the predictor is trained on conditions.
    pub(super) fn health(&self, model: &Jepa, state: &FlatState, conditioned: bool) -> Result<Health, TaskError> {
        if self.rows.is_empty() {
            return Ok(Health::default());
        }
        let cells = gather(&self.data.store, &self.rows)?;
        let cells = view(&self.data.store, self.input, &self.rows, &cells).on(self.device);
        let params = &state.params;
        let labels = self.data.store.labels();
        let kind = &labels.kinds[labels.kind.first().copied().unwrap_or(0) as usize];
        let perturbations = labels.perturbations.iter().filter(|p| !p.is_control()).take(MONITOR_CONDITIONS);
        let predict = |perturbation| {
            let query = |&row: &u64| Query::Known {
                perturbation,
                context: &labels.contexts[labels.context[row as usize] as usize],
                kind,
            };
            let queries: Vec<_> = self.rows.iter().map(query).collect();
            let queries = EncodedQueries::new(&queries, &self.data.vocabulary, self.device)?;
            let (_, prediction) = tch::no_grad(|| model.predict(params, &cells, &queries, None));
            Ok(prediction.pooled().to_device(Device::Cpu))
        };
        let predictions = if conditioned { perturbations.map(predict).collect() } else { Ok(Vec::new()) };
        let predictions: Vec<Tensor> = predictions.map_err(|error: TaskError| error)?;
        let teacher = state.teacher.as_ref().unwrap_or(params);
        let embed = |encoder| tch::no_grad(|| model.embed(encoder, &cells).to_device(Device::Cpu));
        let (student, teacher) = (embed(params), embed(teacher));
        let predictions = (predictions.len() > 1).then(|| Tensor::stack(&predictions, 1));
        Ok(health(&Views { student: &student, teacher: &teacher, predictions: predictions.as_ref() }))
    }
}

/// At most `n` rows, evenly spread over all: a store that lies in the order of its labels would otherwise show few of them.
fn spread(rows: &[u64], n: usize) -> Vec<u64> {
    (0..n.min(rows.len())).map(|at| rows[at * rows.len() / n.min(rows.len())]).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_cells_looked_at_come_from_all_over_the_fold() {
        let rows: Vec<u64> = (0..1000).map(|row| 3 * row).collect();
        assert_eq!(spread(&rows, 4), [0, 750, 1500, 2250]);
        assert_eq!(spread(&rows[..3], 4), [0, 3, 6]);
        assert!(spread(&[], 4).is_empty());
    }
}
