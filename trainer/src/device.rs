//! Where tensors are computed.
//!
//! Guarantee: the device of a rank follows from the configuration, the GPUs that are visible and the rank's number on
//! its node. A GPU that was asked for and cannot be had is an error that says why.

use serde::{Deserialize, Serialize};
use syncyte_kernels::cuda::{self, Gpu};
use tch::{Cuda, Device, Tensor};

use crate::shim::{NoCuda, cuda_devices};
use syncyte_fabric::collective::{Blame, Fault};

/// What training computes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// A GPU where one is visible, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A GPU, or the run is refused.
    Cuda,
}

/// Variables that tell a process its number on its node: of Open MPI, SLURM, Intel MPI, and torchrun.
const LOCAL_RANK: [&str; 4] = ["OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID", "LOCAL_RANK"];

/// Why a rank has no device, or the ranks none in common.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A GPU was asked for.
    #[error("engine.device = \"cuda\", but {0}; set engine.device = \"cpu\" to train on the processor")]
    NoCuda(#[from] NoCuda),
    /// There are more ranks on a node than GPUs.
    #[error(
        "local rank {local_rank} (counted from 0) has no GPU of its own among the {devices} that are visible; start at \
         most {devices} ranks a node, or set engine.device = \"cpu\""
    )]
    TooFew {
        /// Number of the rank on its node.
        local_rank: usize,
        /// GPUs that it sees.
        devices: usize,
    },
    /// Some ranks found a GPU and some did not.
    #[error(
        "rank {with} has a GPU and rank {without} has none; set engine.device = \"cuda\" to learn why, or \"cpu\" to \
         train on processors"
    )]
    Mixed {
        /// A rank with a GPU.
        with: usize,
        /// A rank without.
        without: usize,
    },
    /// NCCL was asked for.
    #[error("engine.device_collectives = \"nccl\", but {0}; set it to \"host\" to sum in the processor's memory")]
    NoNccl(String),
}

impl Blame for DeviceError {
    fn fault(&self) -> Fault {
        Fault::Usage
    }
}

/// The device of a rank, from what is asked for, the GPUs that it sees and its number on its node.
///
/// A single visible GPU is taken by every rank that sees it, since it may be another one for each.
///
/// # Errors
/// When a GPU was asked for and there is none, or there are several but none of this number.
pub fn choose(
    asked: DeviceChoice,
    visible: impl FnOnce() -> Result<usize, NoCuda>,
    local_rank: usize,
) -> Result<Device, DeviceError> {
    if asked == DeviceChoice::Cpu {
        return Ok(Device::Cpu);
    }
    match visible() {
        Ok(1) => Ok(Device::Cuda(0)),
        Ok(devices) if local_rank < devices => Ok(Device::Cuda(local_rank)),
        Ok(devices) => Err(DeviceError::TooFew { local_rank, devices }),
        Err(_) if asked == DeviceChoice::Auto => Ok(Device::Cpu),
        Err(reason) => Err(reason.into()),
    }
}

/// This process's number on its node, by the first variable of a launcher that has one; 0 alone.
pub fn local_rank(variable: impl Fn(&str) -> Option<String>) -> usize {
    LOCAL_RANK.iter().find_map(|name| variable(name)?.trim().parse().ok()).unwrap_or(0)
}

/// The device of this process.
///
/// # Errors
/// As [`choose`].
pub fn own(asked: DeviceChoice) -> Result<Device, DeviceError> {
    choose(asked, cuda_devices, local_rank(|name| std::env::var(name).ok()))
}

/// The model of a GPU, as its driver names it; nothing for a processor.
pub fn name(device: Device) -> Option<String> {
    known(device).map(|gpu| gpu.name)
}

/// What tells a GPU from all others, wherever it is; nothing for a processor.
pub(crate) fn identity(device: Device) -> Option<String> {
    known(device).map(|gpu| syncyte_fabric::hash::hex(&gpu.uuid))
}

fn known(device: Device) -> Option<Gpu> {
    let Device::Cuda(ordinal) = device else { return None };
    cuda::driver().ok()?.gpus.into_iter().nth(ordinal)
}

/// The device in words.
pub fn describe(device: Device) -> String {
    match device {
        Device::Cuda(ordinal) => {
            format!("GPU {ordinal}, {}", name(device).unwrap_or_else(|| "of no known name".into()))
        }
        _ => "the processor".into(),
    }
}

/// A tensor of the host on a device, on the way there where that is a GPU: what is computed with it there waits for it.
///
/// The copy goes through pinned memory. Torch gives such memory out again only after the copies from it are done, so it
/// may be let go here.
pub fn moved(tensor: &Tensor, device: Device) -> Tensor {
    match device {
        Device::Cuda(_) => tensor.internal_pin_memory(device).to_device_(device, tensor.kind(), true, false),
        _ => tensor.shallow_clone(),
    }
}

/// Waits until a device has done all that it was asked for.
pub fn synchronize(device: Device) {
    if let Device::Cuda(ordinal) = device {
        Cuda::synchronize(ordinal as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: NoCuda = NoCuda::Device;

    #[test]
    fn every_rank_takes_the_gpu_of_its_number_or_the_only_one() {
        for (devices, local_rank, wanted) in [(1, 0, 0), (1, 5, 0), (2, 1, 1), (8, 7, 7)] {
            for asked in [DeviceChoice::Auto, DeviceChoice::Cuda] {
                assert_eq!(choose(asked, || Ok(devices), local_rank), Ok(Device::Cuda(wanted)));
            }
        }
    }

    #[test]
    fn a_rank_too_many_is_told_both_numbers() {
        for asked in [DeviceChoice::Auto, DeviceChoice::Cuda] {
            let error = choose(asked, || Ok(4), 4).unwrap_err();
            assert_eq!(error, DeviceError::TooFew { local_rank: 4, devices: 4 });
            let said = error.to_string();
            assert!(said.contains("local rank 4") && said.contains("the 4 that") && said.contains("\"cpu\""), "{said}");
        }
    }

    #[test]
    fn without_a_gpu_auto_means_the_processor_and_cuda_is_refused_with_the_reason() {
        assert_eq!(choose(DeviceChoice::Auto, || Err(NONE), 3), Ok(Device::Cpu));
        let said = choose(DeviceChoice::Cuda, || Err(NONE), 0).unwrap_err().to_string();
        assert!(said.contains(&NONE.to_string()) && said.contains("engine.device = \"cpu\""), "{said}");
    }

    #[test]
    fn the_processor_is_taken_without_a_look_for_gpus() {
        assert_eq!(choose(DeviceChoice::Cpu, || panic!("CUDA was asked for"), 0), Ok(Device::Cpu));
    }

    #[test]
    fn the_local_rank_is_that_of_the_first_launcher_that_tells_it() {
        let of = |given: &[(&str, &str)]| {
            let of = |name: &str| given.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            local_rank(of)
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[("SLURM_LOCALID", "3"), ("OMPI_COMM_WORLD_LOCAL_RANK", "2")]), 2);
        assert_eq!(of(&[("OMPI_COMM_WORLD_LOCAL_RANK", "none"), ("SLURM_LOCALID", "3")]), 3);
        assert_eq!([of(&[("MPI_LOCALRANKID", "4")]), of(&[("LOCAL_RANK", " 5 ")])], [4, 5]);
    }

    #[test]
    fn a_tensor_for_the_processor_stays_where_it_is() {
        let tensor = Tensor::from_slice(&[1.0_f32, 2.0]);
        assert_eq!(moved(&tensor, Device::Cpu).data_ptr(), tensor.data_ptr());
    }
}
