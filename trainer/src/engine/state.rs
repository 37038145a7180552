//! Flat training state and its update.
//!
//! Guarantee: after [`FlatState::update`] parameters, moments and teacher are a pure function of what they were
//! before, the summed gradient and the plan, so equal ranks stay bit-equal.

use sha2::{Digest, Sha256};
use syncyte_kernels::optim::{AdamW, AdamWState, adamw, ema, sum_of_squares};
use tch::{Device, Kind, Tensor};

use super::bucket::{BucketPlan, BucketSizes};
use super::reducer::Reducer;
use super::tree::GradientTree;
use crate::collective::{Collective, CollectiveError, Operation, Region};
use crate::config::OptimizerConfig;
use crate::hash::hex;
use crate::params::{Layout, ParamSet, Part};
use crate::shim::{FlatMut, NotFlat, ShimError, flat, tensor_over};

/// Sizes of buckets: a first one of 1 MiB, others of 16 MiB.
const BUCKETS: BucketSizes = BucketSizes { first: 1 << 18, most: 1 << 22 };

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A collective operation failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// A buffer is not in CPU memory.
    #[error(transparent)]
    Memory(#[from] NotFlat),
    /// Torch does not report gradients.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// The gradient is not finite.
    #[error("the gradient of step {step} is not finite; lower optimizer.lr or look at the data of this step")]
    NotFinite {
        /// Step, from 1.
        step: u64,
    },
}

/// What one update does.
#[derive(Clone, Copy, Debug)]
pub struct StepPlan {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Factor on the encoder's learning rate; 0 leaves the encoder and its moments as they are.
    pub encoder_lr_scale: f64,
    /// Momentum of the teacher, where there is one.
    pub momentum: f64,
}

/// Parameters, gradients, moments and teacher.
#[derive(Debug)]
pub struct FlatState {
    /// Trained parameters.
    pub params: ParamSet,
    /// EMA of the encoder (pretraining) or of everything (diffusion).
    pub teacher: Option<ParamSet>,
    grads: Tensor,
    reducer: Reducer,
    m: Tensor,
    v: Tensor,
    step: u64,
    /// Memory of `grads`, which must not go before it.
    _region: Region,
}

impl FlatState {
    /// Initial state with a teacher over `teacher` (a prefix of the layout), which starts as a copy.
    ///
    /// # Errors
    /// When a rank cannot have the memory for its gradients.
    pub fn new(
        layout: &Layout,
        teacher: Option<&Layout>,
        seed: u64,
        collective: &dyn Collective,
    ) -> Result<Self, EngineError> {
        let mut params = ParamSet::initial(layout, seed, Device::Cpu);
        let teacher = teacher.map(|layout| {
            let set = ParamSet::zeros(layout, Device::Cpu);
            set.copy_prefix_from(params.flat());
            set
        });
        let region = collective.allocate(layout.len())?;
        let grads = tensor_over(&region);
        params.require_grad(&grads);
        let reducer = Reducer::new(&params, &region, BUCKETS, collective)?;
        let (m, v) = (params.flat().zeros_like(), params.flat().zeros_like());
        Ok(Self { params, teacher, grads, reducer, m, v, step: 0, _region: region })
    }

    /// Keeps copies of parameters and teacher in `kind`, in which matrix products are then computed.
    pub fn add_shadows(&mut self, kind: Kind) {
        self.params.add_shadow(kind);
        if let Some(teacher) = &mut self.teacher {
            teacher.add_shadow(kind);
        }
    }

    /// Sums gradients over ranks while the next backward pass goes on, bucket by bucket: as each gradient comes where
    /// `hooks` is set, else when [`FlatState::complete`] tells. Without this [`FlatState::reduce`] sums all of them.
    pub fn overlap(&self, encoder_is_frozen: bool, hooks: bool) {
        self.reducer.arm(Operation::AllReduce, self.frozen(encoder_is_frozen), hooks);
    }

    /// All gradients of a part of the model are complete.
    pub fn complete(&self, part: Part) {
        let (encoder, all) = (self.params.layout().encoder_len(), self.params.layout().len());
        self.reducer.complete(&if part == Part::Encoder { 0..encoder } else { encoder..all });
    }

    /// Adds the gradients to a tree as its next leaf, and zeroes them.
    pub fn take_gradients(&mut self, tree: &mut GradientTree) {
        tree.add(self.grads.copy());
        self.zero_grads();
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
    pub fn reduce(&self, encoder_is_frozen: bool) -> Result<(), EngineError> {
        Ok(self.reducer.finish(Operation::AllReduce, self.frozen(encoder_is_frozen))?)
    }

    fn frozen(&self, encoder_is_frozen: bool) -> usize {
        if encoder_is_frozen { self.params.layout().encoder_len() } else { 0 }
    }

    /// Plans the buckets anew by the order in which the first rank's gradients came in the last backward pass.
    ///
    /// # Errors
    /// When the exchange fails.
    pub fn replan(&self, collective: &dyn Collective) -> Result<BucketPlan, EngineError> {
        let words: Vec<String> = self.reducer.arrival().iter().map(usize::to_string).collect();
        let texts = collective.all_gather_text(&words.join(" "))?;
        let first = texts.first().map_or("", String::as_str);
        let arrival: Vec<usize> = first.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        self.reducer.replan(self.params.layout(), &arrival, BUCKETS);
        Ok(self.reducer.plan())
    }

    /// Updates done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// First and second moments.
    pub fn moments(&self) -> (&Tensor, &Tensor) {
        (&self.m, &self.v)
    }

    /// Puts moments and step count back (resume).
    pub fn restore(&mut self, m: &Tensor, v: &Tensor, step: u64) {
        self.m.copy_(m);
        self.v.copy_(v);
        self.step = step;
    }

    /// Makes the teacher a copy of the parameters again, after they were loaded from elsewhere.
    pub fn reset_teacher(&mut self) {
        if let Some(teacher) = &self.teacher {
            teacher.copy_prefix_from(self.params.flat());
        }
    }

    /// Zeroes the gradients before a backward pass.
    pub fn zero_grads(&mut self) {
        let _ = self.grads.zero_();
    }

    /// Clips the summed gradients, steps `AdamW` and moves the teacher. Returns the norm before clipping.
    ///
    /// # Errors
    /// When the gradient is not finite; parameters are then unchanged.
    pub fn update(&mut self, config: &OptimizerConfig, plan: &StepPlan) -> Result<f64, EngineError> {
        let frozen = self.frozen(plan.encoder_lr_scale == 0.0);
        let layout = self.params.layout().clone();
        let grads = flat(&self.grads)?;
        let norm = sum_of_squares(&grads[frozen..]).sqrt();
        if !norm.is_finite() {
            return Err(EngineError::NotFinite { step: self.step + 1 });
        }
        self.step += 1;
        let mut flat_params = self.params.flat().shallow_clone().detach();
        let (mut params, mut m, mut v) =
            (FlatMut::new(&mut flat_params)?, FlatMut::new(&mut self.m)?, FlatMut::new(&mut self.v)?);
        let (params, m, v) = (params.as_mut_slice(), m.as_mut_slice(), v.as_mut_slice());
        for segment in layout.segments() {
            let scale = if segment.part == Part::Encoder { plan.encoder_lr_scale } else { 1.0 };
            if scale == 0.0 {
                continue;
            }
            let range = segment.range.clone();
            let step = AdamW {
                lr: plan.lr * scale,
                weight_decay: if segment.decay { plan.weight_decay } else { 0.0 },
                beta1: config.beta1,
                beta2: config.beta2,
                eps: config.eps,
                step: self.step,
                grad_scale: (config.clip / norm.max(f64::MIN_POSITIVE)).min(1.0),
            };
            adamw(
                AdamWState {
                    params: &mut params[range.clone()],
                    grads: &grads[range.clone()],
                    m: &mut m[range.clone()],
                    v: &mut v[range],
                },
                &step,
            );
        }
        if let Some(teacher) = &self.teacher {
            let mut tensor = teacher.flat().shallow_clone();
            let n = tensor.numel();
            ema(FlatMut::new(&mut tensor)?.as_mut_slice(), &params[..n], plan.momentum);
            teacher.refresh_shadow();
        }
        self.params.refresh_shadow();
        Ok(norm)
    }

    /// SHA-256 over the bits of parameters and teacher.
    ///
    /// # Errors
    /// When a buffer is not in CPU memory.
    pub fn parameter_hash(&self) -> Result<String, EngineError> {
        let mut digest = Sha256::new();
        for set in std::iter::once(&self.params).chain(&self.teacher) {
            for block in flat(set.flat())?.chunks(1 << 14) {
                let bytes: Vec<u8> = block.iter().flat_map(|x| x.to_le_bytes()).collect();
                digest.update(&bytes);
            }
        }
        Ok(hex(&digest.finalize()))
    }

    /// Checks that every rank holds the same bits.
    ///
    /// # Errors
    /// When the exchange fails.
    pub fn ranks_agree(&self, collective: &dyn Collective) -> Result<bool, EngineError> {
        let hashes = collective.all_gather_text(&self.parameter_hash()?)?;
        Ok(hashes.windows(2).all(|pair| pair[0] == pair[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::Solo;
    use crate::params::{Init, Registry};

    fn state() -> FlatState {
        let mut registry = Registry::default();
        registry.weight(Part::Encoder, "encoder.w".into(), &[2, 2], Init::Ones);
        registry.weight(Part::Rest, "head.w".into(), &[2], Init::Ones);
        let layout = registry.layout();
        FlatState::new(&layout, Some(&layout.encoder()), 1, &Solo).unwrap()
    }

    fn backward(state: &FlatState) {
        let loss = state.params.named().fold(Tensor::from(0.0_f32), |sum, (_, p)| sum + p.sum(Kind::Float) * 10.0);
        loss.backward();
    }

    const PLAN: StepPlan = StepPlan { lr: 0.1, weight_decay: 0.0, encoder_lr_scale: 1.0, momentum: 0.5 };

    #[test]
    fn a_frozen_encoder_keeps_its_bits_and_the_rest_moves() {
        let mut state = state();
        backward(&state);
        let plan = StepPlan { encoder_lr_scale: 0.0, ..PLAN };
        state.update(&OptimizerConfig::default(), &plan).unwrap();
        let values: Vec<_> = state.params.named().map(|(_, p)| p.sum(Kind::Float).double_value(&[])).collect();
        assert_eq!(values[0], 4.0);
        assert!((values[1] - 1.8).abs() < 1e-5, "{values:?}");
    }

    #[test]
    fn the_teacher_follows_and_a_bad_gradient_changes_nothing() {
        let mut state = state();
        backward(&state);
        let norm = state.update(&OptimizerConfig::default(), &PLAN).unwrap();
        assert!((norm - 600.0_f64.sqrt()).abs() < 1e-4, "{norm}");
        let teacher = state.teacher.as_ref().unwrap().flat().double_value(&[0]);
        assert!((teacher - 0.95).abs() < 1e-5, "{teacher}");
        let before = state.parameter_hash().unwrap();
        let _ = state.grads.fill_(f64::NAN);
        let error = state.update(&OptimizerConfig::default(), &PLAN).unwrap_err().to_string();
        assert!(error.contains("step 2"), "{error}");
        assert_eq!(state.parameter_hash().unwrap(), before);
    }
}
