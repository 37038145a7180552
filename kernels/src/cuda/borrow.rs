//! Memory of another library on the device, as the kernels take it.
//!
//! Guarantee: borrowed memory is never freed here.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Range;

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DeviceRepr};

use crate::cuda::Device;

/// Memory on the device that somebody else owns, borrowed for `'a`.
#[derive(Debug)]
pub struct Borrowed<'a, T> {
    slice: ManuallyDrop<CudaSlice<T>>,
    _owner: PhantomData<&'a mut [T]>,
}

impl Device {
    /// Borrows `len` values at `pointer`, an address on this device.
    ///
    /// # Safety
    /// The memory is aligned for `T`, initialised, and lives for `'a`; whatever else reads or writes it meanwhile does so
    /// on this device's stream.
    pub unsafe fn borrow<'a, T: DeviceRepr>(&self, pointer: u64, len: usize) -> Borrowed<'a, T> {
        // SAFETY: the memory is there, by the contract; that it is never freed through the slice, `Borrowed` sees to.
        let slice = unsafe { self.stream().upgrade_device_ptr(pointer, len) };
        Borrowed { slice: ManuallyDrop::new(slice), _owner: PhantomData }
    }
}

impl<T> Borrowed<'_, T> {
    /// Some of the values.
    ///
    /// # Panics
    /// When the range ends behind the last value.
    pub fn range(&self, range: Range<usize>) -> CudaView<'_, T> {
        self.slice.slice(range)
    }

    /// Some of the values, to be written.
    ///
    /// # Panics
    /// When the range ends behind the last value.
    pub fn range_mut(&mut self, range: Range<usize>) -> CudaViewMut<'_, T> {
        self.slice.slice_mut(range)
    }
}

impl<T> Drop for Borrowed<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the slice is not used after this. To leak it frees what it owns besides the memory.
        unsafe { ManuallyDrop::take(&mut self.slice) }.leak();
    }
}
