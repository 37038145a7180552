//! What a stage is started with, on every rank.

use super::data::RunData;
use super::{Shards, TaskError};
use crate::checkpoint::Stage;
use crate::config::Config;
use crate::engine;
use syncyte_fabric::collective::Collective;

/// A stage to be run.
pub struct Setting<'a> {
    /// Configuration.
    pub config: &'a Config,
    /// Which stage.
    pub stage: Stage,
    /// Whether to go on from the newest whole checkpoint.
    pub resume: bool,
    /// Revision of the program.
    pub git: &'a str,
    /// All ranks.
    pub collective: &'a dyn Collective,
    /// Store, split and vocabulary.
    pub data: RunData,
    /// Where this rank computes.
    pub place: engine::Place,
    /// How the global batch is cut.
    pub shards: Shards,
}

impl<'a> Setting<'a> {
    /// Opens the data and finds the place of every rank; nothing is written. Collective.
    ///
    /// # Errors
    /// When the data cannot be read, or configuration and ranks do not fit.
    pub fn open(
        config: &'a Config,
        stage: Stage,
        resume: bool,
        git: &'a str,
        collective: &'a dyn Collective,
    ) -> Result<Self, TaskError> {
        let data = RunData::open(config)?;
        let shards = Shards::new(config, collective.rank(), collective.size())?;
        let place = engine::Place::of(&config.engine, collective)?;
        Ok(Self { config, stage, resume, git, collective, data, place, shards })
    }
}
