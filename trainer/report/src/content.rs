//! What a report says, before it is set as HTML or Markdown.

use super::figures::{self, PerMethod};
use super::inputs::Inputs;
use super::svg::Figure;
use super::table::{Table, TableError};
use super::verdict::Verdict;

/// The figures, by the section they stand in.
#[derive(Debug)]
pub(crate) struct Figures {
    /// One for each metric.
    pub(crate) metrics: Vec<Figure>,
    /// Similarity and distance by perturbation.
    pub(crate) perturbations: Vec<Figure>,
    /// Cells and predictions.
    pub(crate) embedding: Option<Figure>,
    /// Pretraining curves.
    pub(crate) pretraining: Vec<Figure>,
    /// Losses of the perturbation heads.
    pub(crate) finetuning: Option<Figure>,
    /// Losses of the latent diffusion.
    pub(crate) diffusion: Option<Figure>,
}

impl Figures {
    /// All figures in the order of the page.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Figure> {
        let groups = self.metrics.iter().chain(&self.perturbations).chain(&self.embedding);
        groups.chain(&self.pretraining).chain(&self.finetuning).chain(&self.diffusion)
    }
}

/// Everything a report says.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    /// The files of the run.
    pub(crate) inputs: &'a Inputs,
    /// The benchmark.
    pub(crate) table: Table<'a>,
    /// Our models against the baselines.
    pub(crate) verdict: Verdict,
    /// Our best model by perturbation.
    pub(crate) own: Option<PerMethod<'a>>,
    /// The figures.
    pub(crate) figures: Figures,
}

impl<'a> Content<'a> {
    /// Makes the tables and figures of a run.
    pub(crate) fn new(inputs: &'a Inputs) -> Result<Self, TableError> {
        let table = Table::new(&inputs.results)?;
        let own = PerMethod::best_model(&table);
        let losses = |log: &Option<super::log::Log>, name, title| {
            log.as_ref().and_then(|log| figures::loss_curves(log, name, title))
        };
        let figures = Figures {
            metrics: (0..inputs.results.metrics.len()).map(|metric| figures::metric_bars(&table, metric)).collect(),
            perturbations: own.as_ref().map_or_else(Vec::new, |own| figures::perturbation_bars(&table, own)),
            embedding: figures::embedding(&inputs.results.embedding),
            pretraining: inputs.pretraining.as_ref().map_or_else(Vec::new, figures::pretraining),
            finetuning: losses(&inputs.finetuning, "finetune-loss", "Loss of the perturbation head"),
            diffusion: losses(&inputs.diffusion, "diffuse-loss", "Loss of the latent diffusion"),
        };
        Ok(Self { inputs, verdict: Verdict::new(&table), table, own, figures })
    }
}
