//! The one place where tensor memory is seen as slices, files as memory, and torch's autograd from inside.

mod function;

pub use function::{Backward, ShimError, on_gradient, record};

use std::fs::File;

use memmap2::Mmap;
use tch::{Device, Kind, Tensor};

use crate::collective::Region;

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
#[error("a flat buffer must be a contiguous f32 tensor on the CPU, not {kind:?} on {device:?}")]
pub struct NotFlat {
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
        Err(NotFlat { kind: tensor.kind(), device: tensor.device() })
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
