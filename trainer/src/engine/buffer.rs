//! A flat buffer of the state, and how ranks run operations on it.
//!
//! Guarantee: after an operation every rank's buffer holds what the operation says, wherever the buffer lies. Through
//! copies in the host's memory its bits are those of the same operation in place.

use std::ops::Range;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::EngineError;
use super::place::{Place, Sums};
use crate::shim::{device_region, tensor_over};
use syncyte_fabric::collective::{
    Collective, CollectiveError, DeviceRegion, Devices, Label, Operation, Pending, Region, Starter,
};

/// How the ranks that have buffers alike reduce them.
#[derive(Clone, Debug)]
pub(super) struct Ranks {
    starter: Starter,
    place: Place,
    devices: Option<Devices>,
}

impl Ranks {
    /// Prepares operations on buffers at a place. Collective.
    ///
    /// # Errors
    /// When NCCL cannot be started.
    pub(super) fn new(place: Place, limit: Duration, collective: &dyn Collective) -> Result<Self, CollectiveError> {
        let devices = match (place.sums, place.device) {
            (Sums::Nccl, Device::Cuda(ordinal)) => Some(Devices::start(ordinal, limit, collective)?),
            _ => None,
        };
        Ok(Self { starter: collective.starter(), place, devices })
    }
}

/// A flat f32 buffer of the same length on every rank.
#[derive(Debug)]
pub(super) struct Buffer {
    ranks: Ranks,
    tensor: Tensor,
    route: Route,
}

/// Where operations on a buffer run.
#[derive(Debug)]
enum Route {
    /// Nowhere: there is one rank.
    Alone,
    /// In the buffer itself, which is this region.
    Region(Region),
    /// In a region of the host, which `copy` sees.
    Copy { region: Region, copy: Tensor },
    /// On the GPU.
    Devices(Devices, DeviceRegion),
}

impl Buffer {
    /// A buffer of zeros. Collective.
    ///
    /// # Errors
    /// When a rank cannot have the memory.
    pub(super) fn zeroed(len: usize, ranks: &Ranks, collective: &dyn Collective) -> Result<Self, EngineError> {
        let Place { device, sums } = ranks.place;
        let own = || Tensor::zeros([len as i64], (Kind::Float, device));
        let (tensor, route) = match (sums, &ranks.devices) {
            (Sums::Nccl, Some(devices)) => {
                let tensor = own();
                let region = device_region(&tensor)?;
                (tensor, Route::Devices(devices.clone(), region))
            }
            (Sums::Direct, _) if device == Device::Cpu => {
                let region = collective.allocate(len)?;
                (tensor_over(&region), Route::Region(region))
            }
            (Sums::Direct, _) => (own(), Route::Alone),
            (Sums::Host | Sums::Nccl, _) => {
                let region = collective.allocate(len)?;
                let copy = tensor_over(&region);
                (own(), Route::Copy { region, copy })
            }
        };
        Ok(Self { ranks: ranks.clone(), tensor, route })
    }

    /// The values, which are those of the buffer.
    pub(super) fn tensor(&self) -> Tensor {
        self.tensor.shallow_clone()
    }

    /// Starts an operation on part of the buffer, which nobody may touch until [`Buffer::finish`].
    pub(super) fn start(&self, operation: Operation, range: Range<usize>, label: Label) -> Started {
        let pending = match &self.route {
            Route::Alone => Pending::done(),
            Route::Region(region) => self.ranks.starter.start(operation, region, range.clone(), label),
            Route::Copy { region, copy } => {
                part(copy, &range).copy_(&part(&self.tensor, &range));
                self.ranks.starter.start(operation, region, range.clone(), label)
            }
            Route::Devices(devices, region) => devices.run(operation, *region, range.clone(), label),
        };
        Started { pending, range }
    }

    /// Takes over what an operation on this buffer has left, once it has been waited for.
    pub(super) fn finish(&self, range: &Range<usize>) {
        if let Route::Copy { copy, .. } = &self.route {
            part(&self.tensor, range).copy_(&part(copy, range));
        }
    }
}

fn part(tensor: &Tensor, range: &Range<usize>) -> Tensor {
    tensor.narrow(0, range.start as i64, range.len() as i64)
}

/// An operation on a buffer that was started.
#[must_use = "the buffer holds the result only after it was finished"]
pub(super) struct Started {
    pending: Pending,
    range: Range<usize>,
}

impl Started {
    /// Waits for it; gives the part that is to be finished.
    ///
    /// # Errors
    /// When it failed; the message names the operation.
    pub(super) fn wait(self) -> Result<Range<usize>, CollectiveError> {
        self.pending.wait().map(|()| self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OptimizerConfig, Precision, Sharding};
    use crate::engine::{FlatState, StateOptions, StepPlan};
    use crate::params::{Group, Init, Registry};
    use syncyte_fabric::collective::{Communicator, Threads, Wire};

    const ENCODER: Group = Group::averaged("encoder");
    const HEAD: Group = Group::new("head");

    /// Three steps on made-up gradients that differ from rank to rank; the hash of every rank's parameters.
    fn trained((size, locals): (usize, usize), options: StateOptions, hooks: Option<bool>) -> Vec<String> {
        let mut registry = Registry::default();
        registry.weight(ENCODER, "encoder.w".into(), &[300, 70], Init::TruncatedNormal(0.5));
        registry.plain(ENCODER, "encoder.b".into(), &[300], Init::Zeros);
        registry.weight(HEAD, "head.w".into(), &[50, 33], Init::TruncatedNormal(0.5));
        let layout = registry.layout();
        let run = |collective: &Communicator| {
            let mut state = FlatState::new(&layout, 7, options, collective).unwrap();
            let plan = StepPlan { lr: 0.01, weight_decay: 0.1, momentum: 0.9, scales: Vec::new() };
            for step in 0..3 {
                if let Some(hooks) = hooks {
                    state.overlap(&plan, hooks);
                }
                let factor = 0.3 + collective.rank() as f64 + f64::from(step);
                let losses = state.params.named().map(|(_, p)| (p * factor + 0.1).sin().sum(Kind::Float));
                losses.fold(Tensor::from(0.0_f32), |sum, loss| sum + loss).backward();
                if hooks == Some(false) {
                    state.complete_but(ENCODER);
                }
                state.reduce(&plan).unwrap();
                state.update(collective, &OptimizerConfig::default(), &plan).unwrap();
            }
            state.parameter_hash().unwrap()
        };
        Threads::run(size, locals, run).unwrap()
    }

    #[test]
    fn sums_through_copies_have_the_bits_of_those_in_place() {
        for (world, sharding, hooks) in [
            ((2, 2), Sharding::None, Some(true)),
            ((2, 1), Sharding::None, Some(false)),
            ((3, 3), Sharding::Optimizer, Some(true)),
            ((4, 2), Sharding::Optimizer, None),
        ] {
            let through = |sums| {
                let place = Place { device: Device::Cpu, sums };
                trained(
                    world,
                    StateOptions { sharding, place, precision: Precision::Bf16, ..StateOptions::default() },
                    hooks,
                )
            };
            let copied = through(Sums::Host);
            assert_eq!(copied, through(Sums::Direct), "{world:?} {sharding:?}");
            assert!(
                copied.windows(2).all(|pair| pair[0] == pair[1]),
                "{world:?} {sharding:?}: all ranks hold the same"
            );
        }
    }

    #[test]
    fn a_copy_keeps_to_the_range_of_the_operation() {
        let run = |rank: &Communicator| {
            let place = Place { device: Device::Cpu, sums: Sums::Host };
            let ranks = Ranks::new(place, Duration::from_secs(1), rank).unwrap();
            let buffer = Buffer::zeroed(9, &ranks, rank).unwrap();
            let own = (rank.rank() + 1) as f64;
            let _ = buffer.tensor().fill_(own);
            let started = buffer.start(Operation::AllReduce(Wire::F32), 2..5, Label::plain("test"));
            buffer.finish(&started.wait().unwrap());
            let values = Vec::<f64>::try_from(buffer.tensor().to_kind(Kind::Double)).unwrap();
            assert_eq!(values, [own, own, 3.0, 3.0, 3.0, own, own, own, own]);
        };
        Threads::run(2, 2, run).unwrap();
    }
}
