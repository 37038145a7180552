//! Ranges of configuration values.

use super::{Config, ConfigError, DeviceCollectives, Sharding};
use syncyte_fabric::collective::Wire;

impl Config {
    /// Checks everything that can be checked without the data.
    ///
    /// # Errors
    /// The first value at fault, with what would be right.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_data()?;
        self.validate_training()
    }

    fn validate_data(&self) -> Result<(), ConfigError> {
        let data = &self.data;
        ensure(!self.run.dir.as_os_str().is_empty(), "run.dir is not set; give the folder of the run")?;
        ensure(!data.store.as_os_str().is_empty(), "data.store is not set; make one with `syncyte store import`")?;
        ensure(!data.split.as_os_str().is_empty(), "data.split is not set; make one with `syncyte store split`")?;
        ensure(data.streams > 0, "data.streams must be at least 1")?;
        ensure(
            data.batch_size > 0 && data.batch_size.is_multiple_of(data.streams),
            &format!("data.batch_size = {} is not a multiple of data.streams = {}", data.batch_size, data.streams),
        )?;
        ensure(data.window_blocks > 0, "data.window_blocks must be at least 1")?;
        ensure(data.threads > 0 && data.prefetch > 0, "data.threads and data.prefetch must be at least 1")?;
        ensure((0.0..1.0).contains(&data.bad_chunk_share), "data.bad_chunk_share must be at least 0 and below 1")
    }

    fn validate_training(&self) -> Result<(), ConfigError> {
        let (objective, optimizer) = (&self.objective, &self.optimizer);
        ensure(self.engine.steps > 0 || self.engine.epochs > 0, "engine.steps or engine.epochs must be positive")?;
        let engine = &self.engine;
        ensure(engine.logical_shards.is_power_of_two(), "engine.logical_shards must be a power of two")?;
        ensure(engine.micro_batches > 0, "engine.micro_batches must be at least 1")?;
        for (key, seconds) in
            [("engine.timeout_s", engine.timeout_s), ("engine.startup_timeout_s", engine.startup_timeout_s)]
        {
            ensure((0.1..=1e6).contains(&seconds), &format!("{key} = {seconds} must lie in [0.1, 1e6]"))?;
        }
        ensure(
            !engine.deterministic || engine.micro_batches == 1,
            "engine.deterministic cuts the batch into engine.logical_shards; leave engine.micro_batches at 1",
        )?;
        ensure(
            !engine.deterministic || engine.sharding == Sharding::None,
            "engine.deterministic needs the norm of the whole gradient on every rank; set engine.sharding = \"none\"",
        )?;
        ensure(
            !engine.deterministic || engine.device_collectives != DeviceCollectives::Nccl,
            "engine.deterministic sums in a fixed order, which NCCL does not; leave engine.device_collectives at \"auto\"",
        )?;
        ensure(
            !engine.deterministic || engine.wire == Wire::F32,
            "engine.deterministic has equal bits on any number of nodes, which rounding between them takes away; leave \
             engine.wire at \"f32\"",
        )?;
        ensure(
            !engine.deterministic || engine.threads <= 1,
            "engine.deterministic computes on one thread a rank; leave engine.threads at 0 or 1, and use more ranks",
        )?;
        ensure(
            !engine.deterministic || self.data.streams.is_multiple_of(engine.logical_shards),
            &format!(
                "engine.logical_shards = {} does not divide data.streams = {}",
                engine.logical_shards, self.data.streams
            ),
        )?;
        ensure(
            self.engine.log_every > 0 && self.engine.monitor_every > 0,
            "engine.log_every and monitor_every: at least 1",
        )?;
        ensure(!objective.tasks.is_empty(), "objective.tasks is empty; name at least one, e.g. \"paired\"")?;
        ensure(!objective.losses.is_empty(), "objective.losses is empty; name at least one, e.g. \"smooth_l1\"")?;
        ensure(
            objective.shares.is_empty() || objective.shares.len() == objective.tasks.len(),
            &format!(
                "objective.shares has {} numbers for the {} of objective.tasks",
                objective.shares.len(),
                objective.tasks.len()
            ),
        )?;
        ensure(
            objective.shares.iter().all(|&share| share > 0.0 && share.is_finite()),
            &format!("objective.shares = {:?}: every share must be above 0", objective.shares),
        )?;
        ensure((0.0..=1.0).contains(&objective.freeze_share), "objective.freeze_share must lie in [0, 1]")?;
        ensure(optimizer.lr > 0.0 && optimizer.clip > 0.0, "optimizer.lr and optimizer.clip must be positive")?;
        ensure((0.0..=1.0).contains(&optimizer.warmup_share), "optimizer.warmup_share must lie in [0, 1]")?;
        for (key, momentum) in
            [("teacher.momentum", self.teacher.momentum), ("teacher.momentum_end", self.teacher.momentum_end)]
        {
            ensure((0.0..=1.0).contains(&momentum), &format!("{key} = {momentum} must lie in [0, 1]"))?;
        }
        let checkpoint = &self.checkpoint;
        ensure(checkpoint.every > 0 && checkpoint.keep > 0, "checkpoint.every and keep: at least 1")?;
        ensure(
            checkpoint.keep_every.is_multiple_of(checkpoint.every),
            &format!(
                "checkpoint.keep_every = {} is not a multiple of checkpoint.every = {}",
                checkpoint.keep_every, checkpoint.every
            ),
        )?;
        ensure(self.finetune.bag > 1 && self.finetune.conditions > 0, "finetune.bag ≥ 2 and conditions ≥ 1")?;
        ensure(self.finetune.hidden > 0, &format!("finetune.hidden = {} must be at least 1", self.finetune.hidden))?;
        ensure(
            self.finetune.ridge >= 0.0 && self.finetune.ridge.is_finite(),
            &format!("finetune.ridge = {} must be a number of at least 0", self.finetune.ridge),
        )?;
        ensure(
            self.diffusion.hidden.iter().all(|&width| width > 0),
            &format!("diffusion.hidden = {:?}: every width must be at least 1", self.diffusion.hidden),
        )?;
        ensure(
            self.diffusion.ddim_steps > 0 && self.diffusion.ancestral_steps > 0,
            "diffusion: sampler steps must be positive",
        )?;
        ensure(
            self.evaluate.prediction_cells >= 2,
            "evaluate.prediction_cells must be at least 2, one for each half of the controls",
        )?;
        ensure(self.evaluate.max_cells >= self.evaluate.min_cells, "evaluate.max_cells is below evaluate.min_cells")
    }
}

fn ensure(holds: bool, message: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Value(message.to_owned())) }
}
