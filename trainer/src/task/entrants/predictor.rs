//! The pretrained predictor itself, where pretraining asked it what a perturbation makes of a control cell (J3).
//!
//! `ẑ = predictor(student(control), perturbation)` is the state that the teacher would give the perturbed cell; the teacher
//! is the frozen encoder. Nothing but the linear decoder is fitted behind pretraining.

use syncyte_evaluation::baseline::Training;
use syncyte_evaluation::benchmark::method::{Method, MethodError, Prediction, Query};
use syncyte_evaluation::benchmark::results::MethodInfo;
use syncyte_evaluation::fold::{FoldError, TrainingCells};
use syncyte_fabric::collective::Solo;
use tch::Device;

use super::{Asked, Turns, other, predicted, to_tensor};
use crate::batch::view::of_expression;
use crate::checkpoint::{Checkpoint, MODEL};
use crate::decoder::{Decoder, DecoderFit};
use crate::params::ParamSet;
use crate::pretext::Cells;
use crate::task::frozen::{DECODER_FILE, Frozen};
use crate::training::TaskError;
use crate::training::data::RunData;

struct PredictorMethod {
    model: Turns<Predictor>,
    split_hash: String,
    encoder: String,
}

struct Predictor {
    /// The teacher.
    frozen: Frozen,
    student: ParamSet,
    decoder: Decoder,
    asked: Asked,
}

/// The predictor of a pretraining checkpoint, with the decoder of a later stage on the same encoder where there is one;
/// `None` where its tasks never asked it about perturbations of control cells.
///
/// # Errors
/// When the checkpoint does not fit the data, or the training cells cannot be read.
pub(in crate::task) fn entrant(
    checkpoint: &Checkpoint,
    later: Option<&Checkpoint>,
    data: &RunData,
    training: &Training<'_>,
) -> Result<Option<Box<dyn Method>>, TaskError> {
    let config = &checkpoint.state.config;
    let mut asks = false;
    for task in &config.objective.tasks {
        asks |= (task.build())(task.table()).map_err(TaskError::Invalid)?.cells() == Cells::Perturbed;
    }
    if !asks {
        return Ok(None);
    }
    let frozen = Frozen::from_pretraining(checkpoint, data)?;
    let student = ParamSet::zeros(frozen.model.layout(), Device::Cpu);
    checkpoint.load(MODEL, &student)?;
    let decoder = match later {
        Some(later) => {
            let decoder = Decoder::zeros(frozen.width(), frozen.vocabulary.genes.len() as i64);
            later.load(DECODER_FILE, decoder.params())?;
            decoder
        }
        None => fit_decoder(&frozen, training.cells, config.finetune.ridge)?,
    };
    let (split_hash, encoder) = (checkpoint.state.split_hash.clone(), frozen.parent.clone());
    let model = Turns::new(Predictor { frozen, student, decoder, asked: Asked::about(data) });
    Ok(Some(Box::new(PredictorMethod { model, split_hash, encoder })))
}

/// The decoder that stages behind pretraining fit too, on the training cells.
fn fit_decoder(frozen: &Frozen, cells: &dyn TrainingCells, ridge: f64) -> Result<Decoder, TaskError> {
    let genes = frozen.vocabulary.genes.len() as i64;
    let mut fit = DecoderFit::new(frozen.width(), genes);
    cells
        .visit(&mut |_, cells| {
            let x = to_tensor(cells);
            fit.add(&frozen.embed_expression(&x), &x);
            Ok::<(), FoldError>(())
        })
        .map_err(|error| TaskError::Data(error.to_string()))?;
    Ok(fit.solve(ridge, &Solo)?)
}

impl Predictor {
    fn predict(&self, query: &Query<'_>) -> Result<Prediction, TaskError> {
        let x = to_tensor(query.control);
        let resolved = self.asked.resolve(query.perturbation, query.control.nrows());
        let queries = self.asked.encode(query, &resolved.perturbations, &self.frozen.vocabulary)?;
        let view = of_expression(self.frozen.input(), &x);
        let (_, made) = tch::no_grad(|| self.frozen.model.predict(&self.student, &view, &queries, None));
        predicted(&self.decoder, &x, &self.frozen.embed(&view), &made.pooled().detach(), resolved.flags)
    }
}

impl Method for PredictorMethod {
    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "jepa_predictor".into(),
            title: "JEPA predictor".into(),
            description:
                "The predictor of pretraining itself: the embedding of the perturbed cell from that of a control cell \
                          and the perturbation (J3); linear decoder."
                    .into(),
            baseline: false,
            informed: true,
        }
    }

    fn fitted_on(&self) -> Option<&str> {
        Some(&self.split_hash)
    }

    fn encoder(&self) -> Option<&str> {
        Some(&self.encoder)
    }

    fn predict(&self, query: &Query<'_>) -> Result<Prediction, MethodError> {
        self.model.take(|predictor| predictor.predict(query)).map_err(other)
    }
}
