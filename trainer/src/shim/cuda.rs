//! CUDA, opened while the program runs: the half of libtorch that computes on GPUs, and tensors there as the kernels
//! and NCCL take them.
//!
//! Guarantee: a machine without an NVIDIA driver pays one look for it. Torch asks once in a process whether it has
//! CUDA and remembers the answer, so [`open_cuda`] goes before anything else that calls torch. What is opened stays open.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::driver::DeviceRepr;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use syncyte_kernels::cuda::{self, Borrowed};
use tch::{Cuda, Device, Kind, Tensor};

use super::{NotFlat, TorchElement};
use syncyte_fabric::collective::DeviceRegion;

/// NVIDIA's driver, by the name that every release has.
const DRIVER: &str = "libcuda.so.1";
/// The half of libtorch that the program is not linked to.
const TORCH_CUDA: &str = "libtorch_cuda.so";
/// The half that it is linked to; the other one lies beside it.
const TORCH_CPU: &str = "libtorch_cpu.so";

/// Why this process cannot compute on a GPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCuda {
    /// There is no NVIDIA driver.
    #[error("there is no NVIDIA driver on this machine ({0})")]
    Driver(String),
    /// There is a driver, but libtorch is one for the CPU alone, or does not fit.
    #[error("libtorch's part for GPUs cannot be opened ({0}); scripts/setup.sh --gpu installs it")]
    Library(String),
    /// Both are there, but no device.
    #[error("no GPU is visible to this process; CUDA_VISIBLE_DEVICES may hide them, and nvidia-smi shows them")]
    Device,
}

/// Opens libtorch's part for GPUs where there is a driver, which takes a second. A command that can compute there calls
/// this before anything else; that it failed is told by [`cuda_devices`] to whoever needs a GPU.
pub fn open_cuda() {
    // Nobody has asked for a GPU yet.
    let _ = opened();
}

/// Number of GPUs that torch sees, at least 1.
///
/// # Errors
/// When there is none, with the reason.
pub fn cuda_devices() -> Result<usize, NoCuda> {
    opened().clone()?;
    match Cuda::device_count() {
        count if count > 0 => Ok(count as usize),
        _ => Err(NoCuda::Device),
    }
}

fn opened() -> &'static Result<(), NoCuda> {
    static OPENED: OnceLock<Result<(), NoCuda>> = OnceLock::new();
    OPENED.get_or_init(|| {
        keep_open(Path::new(DRIVER), RTLD_LOCAL).map_err(NoCuda::Driver)?;
        let beside = torch_folder().map(|folder| folder.join(TORCH_CUDA)).filter(|file| file.is_file());
        keep_open(&beside.unwrap_or_else(|| PathBuf::from(TORCH_CUDA)), RTLD_GLOBAL).map_err(NoCuda::Library)
    })
}

/// Opens a library until the process ends.
fn keep_open(file: &Path, visibility: i32) -> Result<(), String> {
    // SAFETY: the initialisers of NVIDIA's driver and of libtorch have no demands; nothing is called here.
    let library = unsafe { Library::open(Some(file), RTLD_NOW | visibility) };
    // The loader's own words are in the source of the error.
    let said = |error: libloading::Error| {
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    };
    library.map(std::mem::forget).map_err(said)
}

/// Folder of the libtorch that is loaded, by the table of what is mapped where (`proc(5)`).
fn torch_folder() -> Option<PathBuf> {
    folder_in_maps(&std::fs::read_to_string("/proc/self/maps").ok()?)
}

fn folder_in_maps(maps: &str) -> Option<PathBuf> {
    let mut files = maps.lines().filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])));
    files.find(|file| file.ends_with(TORCH_CPU)).and_then(Path::parent).map(Path::to_owned)
}

/// Borrows the memory of a contiguous tensor on the GPU that the kernels run on.
///
/// Torch works there on the default stream, as tch leaves it, and so do the kernels: what either is asked for first runs
/// first.
///
/// # Errors
/// When the tensor is another one.
pub fn borrow<'a, E: TorchElement + DeviceRepr>(
    device: &cuda::Device,
    tensor: &'a Tensor,
) -> Result<Borrowed<'a, E>, NotFlat> {
    let ordinal = device.stream().context().ordinal();
    check(tensor, E::KIND, tensor.device() == Device::Cuda(ordinal))?;
    // SAFETY: checked to be `numel` contiguous values of this kind on this device, which the borrow of the tensor keeps
    // alive; torch and the kernels run on one stream. The engine, which alone uses this, has no other view in use.
    Ok(unsafe { device.borrow(tensor.data_ptr() as u64, tensor.numel()) })
}

/// The memory of a flat f32 tensor on a GPU, for operations of all ranks. The tensor must live as long as these, which
/// the engine sees to by waiting for them.
///
/// # Errors
/// When the tensor is not contiguous f32 on a GPU.
pub fn device_region(tensor: &Tensor) -> Result<DeviceRegion, NotFlat> {
    check(tensor, Kind::Float, tensor.device().is_cuda())?;
    // SAFETY: checked to be `numel` contiguous f32 on a GPU; how long they live is the caller's contract.
    Ok(unsafe { DeviceRegion::new(tensor.data_ptr() as u64, tensor.numel()) })
}

fn check(tensor: &Tensor, kind: Kind, in_place: bool) -> Result<(), NotFlat> {
    if in_place && tensor.is_contiguous() && tensor.kind() == kind {
        return Ok(());
    }
    Err(NotFlat { wanted: "on this rank's GPU", kind: tensor.kind(), device: tensor.device() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_missing_is_named_in_the_loaders_words() {
        let said = keep_open(Path::new("libsyncyte_nowhere.so"), RTLD_LOCAL).unwrap_err();
        assert!(said.contains("libsyncyte_nowhere.so") && said.contains("No such file"), "{said}");
        let library = NoCuda::Library(said.clone()).to_string();
        assert!(library.contains(&said) && library.contains("setup.sh --gpu"), "{library}");
    }

    #[test]
    fn the_folder_of_the_loaded_libtorch_is_found() {
        let maps =
            "7f00-7f01 r-xp 0 08:01 9  /usr/lib/libc.so.6\n7f02-7f03 r-xp 0 08:01 9  /opt/torch lib/libtorch_cpu.so\n";
        assert_eq!(folder_in_maps(maps), Some(PathBuf::from("/opt/torch lib")));
        assert_eq!(folder_in_maps("7f00-7f01 r-xp 0 08:01 9  /usr/lib/libc.so.6\n"), None);
        // Torch is loaded in this very process.
        assert!(torch_folder().is_some_and(|folder| folder.join(TORCH_CPU).is_file()));
    }

    #[test]
    fn memory_on_the_host_is_not_taken_for_that_of_a_gpu() {
        let error = device_region(&Tensor::zeros([3], (Kind::Float, Device::Cpu))).unwrap_err().to_string();
        assert!(error.contains("GPU") && error.contains("Cpu"), "{error}");
    }
}
