//! Flat training state and its update.
//!
//! Guarantee: after [`FlatState::update`] parameters, moments and teacher are a pure function of what they were
//! before, the summed gradient and the plan, so equal ranks stay bit-equal. Gradients are zero after an update.
//!
//! With sharded moments (ZeRO stage 1: Rajbhandari et al., *ZeRO: memory optimizations toward training trillion
//! parameter models*, 2020) a rank keeps moments for its own part of every bucket, gets the sum of that part alone,
//! updates it, and the parameters are gathered from all ranks.

use std::ops::Range;
use std::time::Duration;

use syncyte_kernels::optim::AdamW;
use tch::{Kind, Tensor};

use super::arithmetic::{Along, Arithmetic, Flats, arithmetic};
use super::bucket::{BucketPlan, BucketSizes};
use super::buffer::{Buffer, Ranks};
use super::error::EngineError;
use super::moments::HostMoments;
use super::owned::{Owned, Run};
use super::place::Place;
use super::reducer::Reducer;
use super::scaler::LossScaler;
use super::tree::GradientTree;
use crate::config::{Config, EngineConfig, OptimizerConfig, Precision, Sharding};
use crate::params::{Group, Layout, ParamSet};
use syncyte_fabric::collective::{Collective, Operation, Wire};

/// Sizes of buckets: a first one of 1 MiB, others of 16 MiB.
const BUCKETS: BucketSizes = BucketSizes { first: 1 << 18, most: 1 << 22 };

/// What one update does.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPlan {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Momentum of the teacher, where there is one.
    pub momentum: f64,
    /// Factors on the learning rate of groups by name, 1 for those that are not in it; 0 leaves a group and its moments
    /// as they are.
    pub scales: Vec<(&'static str, f64)>,
}

impl StepPlan {
    /// Factor on the learning rate of a group.
    pub fn scale(&self, group: Group) -> f64 {
        self.scales.iter().find(|(name, _)| *name == group.name).map_or(1.0, |(_, scale)| *scale)
    }

    /// Whether a group stays as it is.
    pub fn is_frozen(&self, group: Group) -> bool {
        self.scale(group) == 0.0
    }

    /// Elements of the flat buffer that stay as they are.
    fn frozen(&self, layout: &Layout) -> Vec<Range<usize>> {
        let frozen = layout.segments().iter().filter(|segment| self.is_frozen(segment.group));
        frozen.map(|segment| segment.range.clone()).collect()
    }

    /// Runs of the flat buffer that are updated, as long as they can be.
    fn moving(&self, layout: &Layout) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for segment in layout.segments().iter().filter(|segment| !self.is_frozen(segment.group)) {
            match runs.last_mut() {
                Some(run) if run.end == segment.range.start => run.end = segment.range.end,
                _ => runs.push(segment.range.clone()),
            }
        }
        runs
    }
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Updated {
    /// Norm of the gradient before clipping.
    pub norm: f64,
    /// Whether the gradient was not finite, so that parameters and teacher stayed as they were.
    pub skipped: bool,
}

/// How a [`FlatState`] computes and what a rank keeps.
#[derive(Clone, Copy, Debug)]
pub struct StateOptions {
    /// Number format of matrix products.
    pub precision: Precision,
    /// Who keeps the moments.
    pub sharding: Sharding,
    /// Number format of gradients between nodes.
    pub wire: Wire,
    /// Steps in a row that may be skipped because their gradient is not finite.
    pub max_skipped: u32,
    /// Where the state lies, and who sums it.
    pub place: Place,
    /// Longest that ranks wait for each other to start NCCL, where they sum by it.
    pub limit: Duration,
}

impl StateOptions {
    /// What a configuration asks for, at a place.
    pub fn of(config: &Config, place: Place) -> Self {
        let EngineConfig { precision, sharding, wire, max_skipped, .. } = config.engine;
        Self { precision, sharding, wire, max_skipped, place, limit: config.engine.limits().long }
    }
}

impl Default for StateOptions {
    fn default() -> Self {
        let limit = Duration::from_mins(10);
        Self {
            precision: Precision::F32,
            sharding: Sharding::None,
            wire: Wire::F32,
            max_skipped: 0,
            place: Place::default(),
            limit,
        }
    }
}

/// Parameters, gradients, moments and teacher.
#[derive(Debug)]
pub struct FlatState {
    /// Trained parameters.
    pub params: ParamSet,
    /// Moving average of the averaged groups, where there are any.
    pub teacher: Option<ParamSet>,
    grads: Tensor,
    reducer: Reducer,
    owned: Owned,
    m: Tensor,
    v: Tensor,
    step: u64,
    skipped: u32,
    max_skipped: u32,
    scaler: Option<LossScaler>,
    sharding: Sharding,
    wire: Wire,
    arithmetic: Box<dyn Arithmetic>,
    /// The parameters, where they are gathered. Their memory must not go before them, nor that of the gradients, which
    /// the reducer keeps.
    gathered: Option<Buffer>,
}

impl FlatState {
    /// Initial state. The teacher starts as a copy of what is averaged.
    ///
    /// # Errors
    /// When a rank cannot have the memory, or a GPU cannot be used.
    pub fn new(
        layout: &Layout,
        seed: u64,
        options: StateOptions,
        collective: &dyn Collective,
    ) -> Result<Self, EngineError> {
        let sharded = options.sharding == Sharding::Optimizer;
        let device = options.place.device;
        let ranks = Ranks::new(options.place, options.limit, collective)?;
        let gathered = sharded.then(|| Buffer::zeroed(layout.len(), &ranks, collective)).transpose()?;
        let mut params = match &gathered {
            Some(buffer) => ParamSet::initial_in(layout, seed, buffer.tensor()),
            None => ParamSet::initial(layout, seed, device),
        };
        let mut teacher = (layout.averaged_len() > 0).then(|| {
            let set = ParamSet::zeros(&layout.averaged(), device);
            set.copy_prefix_from(params.flat());
            set
        });
        let gradients = Buffer::zeroed(layout.len(), &ranks, collective)?;
        let grads = gradients.tensor();
        params.require_grad(&grads);
        if let Some(kind) = options.precision.shadow() {
            params.add_shadow(kind);
            if let Some(teacher) = &mut teacher {
                teacher.add_shadow(kind);
            }
        }
        let reducer = Reducer::new(&params, gradients, BUCKETS)?;
        let owned = if sharded {
            Owned::new(reducer.plan().buckets.iter().map(|bucket| collective.owned(&bucket.range)))
        } else {
            Owned::new(std::iter::once(0..layout.len()))
        };
        let moments = || Tensor::zeros([owned.len() as i64], (Kind::Float, device));
        let (m, v) = (moments(), moments());
        let scaler = (options.precision == Precision::Fp16).then(LossScaler::default);
        Ok(Self {
            params,
            teacher,
            grads,
            reducer,
            owned,
            m,
            v,
            step: 0,
            skipped: 0,
            max_skipped: options.max_skipped,
            scaler,
            sharding: options.sharding,
            wire: options.wire,
            arithmetic: arithmetic(device)?,
            gathered,
        })
    }

    /// Factor that the loss must have before `backward` (fp16; else 1).
    pub fn loss_scale(&self) -> f64 {
        self.scaler.map_or(1.0, |scaler| scaler.scale())
    }

    /// The loss scale's state, where there is one.
    pub fn scaler(&self) -> Option<LossScaler> {
        self.scaler
    }

    /// Sums gradients over ranks while the next backward pass goes on, bucket by bucket: as each gradient comes where
    /// `hooks` is set, else when [`FlatState::complete_but`] tells. Without this [`FlatState::reduce`] sums all of them.
    pub fn overlap(&self, plan: &StepPlan, hooks: bool) {
        self.reducer.arm(self.reduction(), plan.frozen(self.params.layout()), hooks);
    }

    fn reduction(&self) -> Operation {
        match self.sharding {
            Sharding::None => Operation::AllReduce(self.wire),
            Sharding::Optimizer => Operation::ReduceScatter(self.wire),
        }
    }

    /// All gradients are complete but those of one group.
    pub fn complete_but(&self, group: Group) {
        let (own, all) = (self.params.layout().group(group), self.params.layout().len());
        for part in [0..own.start, own.end..all] {
            self.reducer.complete(&part);
        }
    }

    /// Adds the gradients to a tree as its next leaf, and zeroes them.
    pub fn take_gradients(&mut self, tree: &mut GradientTree) {
        tree.add(self.grads.copy());
        let _ = self.grads.zero_();
    }

    /// Makes the sum of a tree the gradients; an empty tree leaves them.
    pub fn put_gradients(&mut self, tree: GradientTree) {
        if let Some(sum) = tree.sum() {
            self.grads.copy_(&sum);
        }
    }

    /// Sums what has not been summed yet over ranks, and waits for all.
    ///
    /// # Errors
    /// When a reduction fails.
    pub fn reduce(&self, plan: &StepPlan) -> Result<(), EngineError> {
        Ok(self.reducer.finish(self.reduction(), plan.frozen(self.params.layout()))?)
    }

    /// Plans the buckets anew by the order in which the first rank's gradients came in the last backward pass. Sharded
    /// moments belong to buckets, so their plan stays.
    ///
    /// # Errors
    /// When the exchange fails.
    pub fn replan(&self, collective: &dyn Collective) -> Result<BucketPlan, EngineError> {
        let words: Vec<String> = self.reducer.arrival().iter().map(usize::to_string).collect();
        let texts = collective.all_gather_text(&words.join(" "))?;
        let first = texts.first().map_or("", String::as_str);
        let arrival: Vec<usize> = first.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if self.sharding == Sharding::None && !arrival.is_empty() {
            self.reducer.replan(self.params.layout(), &arrival, BUCKETS);
        }
        Ok(self.reducer.plan())
    }

    /// Updates done, skipped ones included.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Moments that this rank writes into a checkpoint: its own, or its share where all ranks have all.
    pub fn moments(&self, share: &Range<usize>) -> HostMoments {
        let part = if self.sharding == Sharding::None { share.clone() } else { 0..self.params.layout().len() };
        HostMoments::new(&self.m, &self.v, self.owned.within(&part))
    }

    /// Puts moments (of the whole state), step count and loss scale back (resume). The parameters are back already:
    /// their rounded copies follow them.
    pub fn restore(&mut self, m: &[f32], v: &[f32], step: u64, scaler: Option<LossScaler>) {
        for (own, all) in [(&self.m, m), (&self.v, v)] {
            for Run { range, moments } in self.owned.within(&(0..all.len())) {
                let mut own = own.narrow(0, moments.start as i64, moments.len() as i64);
                own.copy_(&Tensor::from_slice(&all[range]));
            }
        }
        std::iter::once(&self.params).chain(&self.teacher).for_each(ParamSet::refresh_shadow);
        self.step = step;
        if self.scaler.is_some() && scaler.is_some() {
            self.scaler = scaler;
        }
    }

    /// Makes the teacher a copy of the parameters again, after they were loaded from elsewhere.
    pub fn reset_teacher(&mut self) {
        if let Some(teacher) = &self.teacher {
            teacher.copy_prefix_from(self.params.flat());
        }
    }

    /// Clips the summed gradients, steps `AdamW` and moves the teacher, in one pass over memory.
    ///
    /// A gradient that is not finite changes nothing; all ranks see the same sum, so all skip.
    ///
    /// # Errors
    /// When too many gradients in a row are not finite, or an exchange between sharded moments fails.
    pub fn update(
        &mut self,
        collective: &dyn Collective,
        config: &OptimizerConfig,
        plan: &StepPlan,
    ) -> Result<Updated, EngineError> {
        let scale = self.loss_scale();
        let squares = self.squares(plan, collective)?;
        let norm = squares.sqrt() / scale;
        let finite = squares.is_finite();
        if let Some(scaler) = &mut self.scaler {
            scaler.update(finite);
        }
        self.step += 1;
        if !finite {
            return self.skip(norm);
        }
        self.skipped = 0;
        let grad_scale = (config.clip / norm.max(f64::MIN_POSITIVE)).min(1.0) / scale;
        self.apply(config, plan, grad_scale)?;
        self.gather(plan)?;
        if self.scaler.is_some() {
            // The fused pass rounds to bfloat16 only.
            self.params.refresh_shadow();
            self.teacher.iter().for_each(ParamSet::refresh_shadow);
        }
        Ok(Updated { norm, skipped: false })
    }

    fn squares(&mut self, plan: &StepPlan, collective: &dyn Collective) -> Result<f64, EngineError> {
        let moving = plan.moving(self.params.layout());
        if self.sharding == Sharding::None {
            return moving.into_iter().map(|run| self.arithmetic.squares(&self.grads, run)).sum();
        }
        let own = moving.iter().flat_map(|part| self.owned.within(part));
        let parts: Vec<Range<usize>> = own.map(|run| run.range).collect();
        let parts = parts.into_iter().map(|range| self.arithmetic.squares(&self.grads, range));
        let mut squares = [parts.sum::<Result<f64, EngineError>>()?];
        collective.all_reduce_sum_f64(&mut squares)?;
        Ok(squares[0])
    }

    fn skip(&mut self, norm: f64) -> Result<Updated, EngineError> {
        let _ = self.grads.zero_();
        self.skipped += 1;
        // A loss scale that is too high shows itself by such steps; they are expected.
        let allowed = if self.scaler.is_some_and(|scaler| scaler.scale() > 1.0) { u32::MAX } else { self.max_skipped };
        if self.skipped > allowed {
            return Err(EngineError::NotFinite { step: self.step, skipped: self.skipped - 1 });
        }
        tracing::warn!("the gradient of step {} is not finite; the step is skipped on all ranks", self.step);
        Ok(Updated { norm, skipped: true })
    }

    /// The buffers, as the arithmetic takes them.
    fn flats(&self) -> Flats {
        let shadow = |set: &ParamSet| set.shadow_flat().map(Tensor::shallow_clone);
        Flats {
            params: self.params.flat().detach(),
            shadow: shadow(&self.params),
            grads: self.grads.shallow_clone(),
            moments: (self.m.shallow_clone(), self.v.shallow_clone()),
            teacher: self.teacher.as_ref().map(|teacher| (teacher.flat().shallow_clone(), shadow(teacher))),
        }
    }

    /// One pass over what this rank owns.
    fn apply(&mut self, config: &OptimizerConfig, plan: &StepPlan, grad_scale: f64) -> Result<(), EngineError> {
        // Gathered parameters move the teacher and the shadows afterwards.
        let alone = self.sharding == Sharding::None;
        let mut flats = self.flats();
        let taught = flats.teacher.as_ref().map_or(0, |(teacher, _)| teacher.numel());
        for segment in self.params.layout().segments() {
            let scale = plan.scale(segment.group);
            let step = AdamW {
                lr: plan.lr * scale,
                weight_decay: if segment.decay { plan.weight_decay } else { 0.0 },
                beta1: config.beta1,
                beta2: config.beta2,
                eps: config.eps,
                step: self.step,
                grad_scale,
            };
            for run in self.owned.within(&segment.range) {
                let teacher = (alone && run.range.end <= taught).then_some(plan.momentum);
                if scale != 0.0 {
                    self.arithmetic.step(&mut flats, run, &step, Along { shadow: alone, teacher })?;
                } else if let Some(momentum) = teacher {
                    self.arithmetic.follow(&mut flats, run.range, momentum)?;
                }
            }
        }
        Ok(())
    }

    /// Where moments are sharded: brings the updated parameters together, then moves teacher and shadows.
    fn gather(&mut self, plan: &StepPlan) -> Result<(), EngineError> {
        let Some(buffer) = &self.gathered else { return Ok(()) };
        self.reducer.gather(buffer, &plan.frozen(self.params.layout()))?;
        if let Some(teacher) = &self.teacher {
            let taught = 0..teacher.flat().numel();
            let mut flats = self.flats();
            self.arithmetic.follow(&mut flats, taught, plan.momentum)?;
        }
        self.params.refresh_shadow();
        let _ = self.grads.zero_();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Init, Registry};
    use syncyte_fabric::collective::Solo;

    const ENCODER: Group = Group::averaged("encoder");
    const HEAD: Group = Group::new("head");

    fn state() -> FlatState {
        let mut registry = Registry::default();
        registry.weight(ENCODER, "encoder.w".into(), &[2, 2], Init::Ones);
        registry.weight(HEAD, "head.w".into(), &[2], Init::Ones);
        let layout = registry.layout();
        FlatState::new(&layout, 1, StateOptions::default(), &Solo).unwrap()
    }

    fn backward(state: &FlatState) {
        let loss = state.params.named().fold(Tensor::from(0.0_f32), |sum, (_, p)| sum + p.sum(Kind::Float) * 10.0);
        loss.backward();
    }

    const PLAN: StepPlan = StepPlan { lr: 0.1, weight_decay: 0.0, momentum: 0.5, scales: Vec::new() };

    #[test]
    fn a_frozen_group_keeps_its_bits_and_the_rest_moves() {
        let mut state = state();
        backward(&state);
        let plan = StepPlan { scales: vec![("encoder", 0.0)], ..PLAN };
        state.update(&Solo, &OptimizerConfig::default(), &plan).unwrap();
        let values: Vec<_> = state.params.named().map(|(_, p)| p.sum(Kind::Float).double_value(&[])).collect();
        assert_eq!(values[0], 4.0);
        assert!((values[1] - 1.8).abs() < 1e-5, "{values:?}");
    }

    #[test]
    fn the_teacher_follows_and_a_bad_gradient_changes_nothing() {
        let mut state = state();
        backward(&state);
        let norm = state.update(&Solo, &OptimizerConfig::default(), &PLAN).unwrap().norm;
        assert!((norm - 600.0_f64.sqrt()).abs() < 1e-4, "{norm}");
        let teacher = state.teacher.as_ref().unwrap().flat().double_value(&[0]);
        assert!((teacher - 0.95).abs() < 1e-5, "{teacher}");
        let before = state.parameter_hash().unwrap();
        let _ = state.grads.fill_(f64::NAN);
        let error = state.update(&Solo, &OptimizerConfig::default(), &PLAN).unwrap_err().to_string();
        assert!(error.contains("step 2"), "{error}");
        assert_eq!(state.parameter_hash().unwrap(), before);
    }

    #[test]
    fn a_restored_state_computes_with_what_was_restored() {
        let mut registry = Registry::default();
        registry.weight(ENCODER, "encoder.w".into(), &[2, 2], Init::Ones);
        let layout = registry.layout();
        let options = StateOptions { precision: Precision::Bf16, ..StateOptions::default() };
        let mut state = FlatState::new(&layout, 1, options, &Solo).unwrap();
        let _ = tch::no_grad(|| state.params.flat().shallow_clone().fill_(3.0));
        let moments = vec![0.25; layout.len()];
        state.restore(&moments, &moments, 9, None);
        assert_eq!(state.step(), 9);
        assert_eq!(state.params.shadow_flat().unwrap().double_value(&[3]), 3.0);
        let kept = state.moments(&(0..layout.len()));
        let runs = kept.runs().unwrap();
        assert_eq!((runs[0].m, runs[0].v), (moments.as_slice(), moments.as_slice()));
    }
}
