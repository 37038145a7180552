//! The one place where tensor memory is seen as slices, files as memory, and torch's autograd from inside.

mod cuda;
mod function;

pub use cuda::{NoCuda, borrow, cuda_devices, device_region, open_cuda};
pub use function::{Backward, ShimError, on_gradient, record};

use std::fs::File;

use memmap2::Mmap;
use syncyte_kernels::number::{Bf16, Element};
use tch::{Device, Kind, Tensor};

use syncyte_fabric::collective::Region;

/// Maps a file that nothing writes to any more: a checkpoint after its rename, latents that all ranks have finished.
///
/// # Errors
/// When the system cannot map it.
pub fn map_finished(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is only read, and callers pass files that are never written or cut again.
    unsafe { Mmap::map(file) }
}

/// Why a tensor's memory could not be borrowed.
#[derive(Debug, thiserror::Error)]
#[error("a flat buffer must be a contiguous tensor of its kind {wanted}, not {kind:?} on {device:?}")]
pub struct NotFlat {
    wanted: &'static str,
    kind: Kind,
    device: Device,
}

/// A contiguous f32 tensor in CPU memory, borrowed for as long as the value lives.
#[derive(Debug)]
pub struct FlatMut<'a> {
    tensor: &'a mut Tensor,
    len: usize,
}

impl<'a> FlatMut<'a> {
    /// Borrows a tensor's memory.
    ///
    /// # Errors
    /// When the tensor is not contiguous f32 on the CPU.
    pub fn new(tensor: &'a mut Tensor) -> Result<Self, NotFlat> {
        check(tensor)?;
        let len = tensor.numel();
        Ok(Self { tensor, len })
    }

    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: `new` checked that the memory is `len` contiguous f32 on the CPU; the exclusive borrow of the
        // tensor keeps it alive, and the engine does not touch its views while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.tensor.data_ptr().cast::<f32>(), self.len) }
    }
}

/// A contiguous bfloat16 tensor in CPU memory, borrowed to be written.
#[derive(Debug)]
pub struct ShadowMut<'a> {
    tensor: &'a Tensor,
}

impl<'a> ShadowMut<'a> {
    /// Borrows the memory of a shadow; `None` where there is none, or it is of another kind or elsewhere.
    pub fn of(tensor: Option<&'a Tensor>) -> Option<Self> {
        let fits = |t: &&Tensor| t.is_contiguous() && t.kind() == Kind::BFloat16 && t.device() == Device::Cpu;
        tensor.filter(fits).map(|tensor| Self { tensor })
    }

    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [Bf16] {
        // SAFETY: `of` checked that the memory is `numel` contiguous bfloat16 on the CPU, of which `Bf16` has the layout;
        // the engine, its only user, writes shadows between passes, when no other view of them is read.
        unsafe { std::slice::from_raw_parts_mut(self.tensor.data_ptr().cast::<Bf16>(), self.tensor.numel()) }
    }
}

/// The elements of a contiguous f32 tensor in CPU memory.
///
/// # Errors
/// When the tensor is not contiguous f32 on the CPU.
pub fn flat(tensor: &Tensor) -> Result<&[f32], NotFlat> {
    check(tensor)?;
    // SAFETY: checked to be `numel` contiguous f32 on the CPU; the borrow of the tensor keeps the memory alive.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<f32>(), tensor.numel()) })
}

fn check(tensor: &Tensor) -> Result<(), NotFlat> {
    if tensor.is_contiguous() && tensor.kind() == Kind::Float && tensor.device() == Device::Cpu {
        Ok(())
    } else {
        Err(NotFlat { wanted: "on the CPU", kind: tensor.kind(), device: tensor.device() })
    }
}

/// A number of the kernels that torch has too.
pub trait TorchElement: Element {
    /// Torch's name for it.
    const KIND: Kind;
}

impl TorchElement for f32 {
    const KIND: Kind = Kind::Float;
}

impl TorchElement for Bf16 {
    const KIND: Kind = Kind::BFloat16;
}

/// The elements of a contiguous tensor in CPU memory.
///
/// # Panics
/// When the tensor is another one, which is a mistake of the caller.
pub fn elements<E: TorchElement>(tensor: &Tensor) -> &[E] {
    check_elements::<E>(tensor);
    // SAFETY: checked to be `numel` contiguous elements of this layout on the CPU; the borrow keeps the memory alive.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<E>(), tensor.numel()) }
}

/// As [`elements`], to be written: of a tensor that nobody else has a view of.
///
/// # Panics
/// As [`elements`].
pub fn elements_mut<E: TorchElement>(tensor: &mut Tensor) -> &mut [E] {
    check_elements::<E>(tensor);
    // SAFETY: as above; the tensor is borrowed exclusively, and callers pass tensors that they have just made.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<E>(), tensor.numel()) }
}

fn check_elements<E: TorchElement>(tensor: &Tensor) {
    let fits = tensor.is_contiguous() && tensor.kind() == E::KIND && tensor.device() == Device::Cpu;
    assert!(fits, "a contiguous {:?} tensor on the CPU, not {:?} on {:?}", E::KIND, tensor.kind(), tensor.device());
}

/// Lets the allocator keep memory that was freed, instead of giving it back to the system and having every page
/// cleared again a moment later: activations of one step have the sizes of the last one's.
pub fn keep_freed_memory() {
    // SAFETY: sets two numbers of glibc's allocator, which may be done at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        // All bits set: never.
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}

/// A flat f32 tensor over this rank's copy of a region. Both see the same memory.
///
/// The region must live as long as the tensor and its views: keep them together.
pub fn tensor_over(region: &Region) -> Tensor {
    // SAFETY: the region holds `len` contiguous f32 in CPU memory, aligned; callers keep it beside the tensor, and who
    // may touch which part while an operation is pending is the engine's business, which waits for its buckets.
    unsafe { Tensor::from_blob(region.start().as_ptr(), &[region.len() as i64], &[1], Kind::Float, Device::Cpu) }
}
