//! What was planted for a condition, as it is stored beside the cells.

use serde::{Deserialize, Serialize};

use crate::labels::Perturbation;

/// How the effect of a double departs from the sum of its singles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InteractionClass {
    /// The sum, stretched by a common scale.
    Additive,
    /// What both singles do alike counts less than twice.
    Buffering,
    /// Genes respond that respond to neither single.
    Neomorphic,
    /// Unrelated to its singles (W0).
    Independent,
}

/// The planted interaction of a double.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// Class.
    pub class: InteractionClass,
    /// Stretch of the sum of the two programs, minus one.
    pub scale: f32,
    /// Share of the overlap that is lost.
    pub buffering: f32,
    /// Strength of the effect that neither single has.
    pub novelty: f32,
}

/// One guide of a condition (from W3 on); a double's guide is a construct against both targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guide {
    /// Name, as in the column `guide` of `obs`.
    pub name: String,
    /// Factor of the condition's effect, the fall of its targets included.
    pub factor: f32,
    /// Share of its transcripts that every target loses to the guide, what the programs do to it aside; below 0
    /// where it gains.
    pub knockdown: Vec<f32>,
    /// Share of the guide's cells that escape it and look like controls.
    pub escape: f32,
}

/// One condition as planted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The perturbation.
    #[serde(flatten)]
    pub perturbation: Perturbation,
    /// Strength of the effect of every target; 0 for a perturbation without effect.
    pub strength: Vec<f32>,
    /// Home module of every target.
    pub module: Vec<u32>,
    /// Share of its transcripts that every target loses, before guides differ and what the programs do to it aside;
    /// below 0 where it gains.
    pub knockdown: Vec<f32>,
    /// Interaction of a double.
    pub interaction: Option<Interaction>,
    /// Guides; none below W3.
    pub guides: Vec<Guide>,
    /// Dose of half the effect, where there are doses.
    pub ec50: Option<f32>,
}

impl Condition {
    /// The control.
    pub(super) fn control() -> Self {
        Self {
            perturbation: Perturbation::control(),
            strength: Vec::new(),
            module: Vec::new(),
            knockdown: Vec::new(),
            interaction: None,
            guides: Vec::new(),
            ec50: None,
        }
    }
}
