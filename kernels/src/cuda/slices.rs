//! What an update on the device reads and writes.

use cudarc::driver::{CudaView, CudaViewMut};

use crate::number::Bf16;
use crate::rows::ShapeError;

/// Gradients on the device, as [`Gradients`](crate::optim::Gradients) are on the host.
#[derive(Debug)]
pub enum DeviceGradients<'a, G> {
    /// They stay as they are.
    Kept(CudaView<'a, G>),
    /// They are zero once read.
    Zeroed(CudaViewMut<'a, G>),
}

/// A teacher on the device, as [`Teacher`](crate::optim::Teacher) is on the host.
#[derive(Debug)]
pub struct DeviceTeacher<'a> {
    /// Its parameters, moved.
    pub params: CudaViewMut<'a, f32>,
    /// Their bfloat16 copy, written.
    pub shadow: Option<CudaViewMut<'a, Bf16>>,
    /// What it keeps of itself.
    pub momentum: f64,
}

/// The slices of one update on the device, as [`Slices`](crate::optim::Slices) are on the host.
#[derive(Debug)]
pub struct DeviceSlices<'a, G> {
    /// Parameters, updated.
    pub params: CudaViewMut<'a, f32>,
    /// Gradients.
    pub grads: DeviceGradients<'a, G>,
    /// First moments, updated.
    pub m: CudaViewMut<'a, f32>,
    /// Second moments, updated.
    pub v: CudaViewMut<'a, f32>,
    /// bfloat16 copy of the parameters, written.
    pub shadow: Option<CudaViewMut<'a, Bf16>>,
    /// Teacher of these parameters.
    pub teacher: Option<DeviceTeacher<'a>>,
}

impl<G> DeviceSlices<'_, G> {
    /// The common length.
    pub(super) fn check(&self) -> Result<usize, ShapeError> {
        let n = self.params.len();
        let grads = match &self.grads {
            DeviceGradients::Kept(grads) => grads.len(),
            DeviceGradients::Zeroed(grads) => grads.len(),
        };
        let shadow = self.shadow.as_ref().map_or(n, CudaViewMut::len);
        let teacher = self.teacher.as_ref().map_or(n, |teacher| teacher.params.len());
        let teacher_shadow = self.teacher.as_ref().and_then(|teacher| teacher.shadow.as_ref());
        let teacher_shadow = teacher_shadow.map_or(n, CudaViewMut::len);
        let lengths = [n, grads, self.m.len(), self.v.len(), shadow, teacher, teacher_shadow];
        if lengths.iter().all(|&length| length == n) {
            return Ok(n);
        }
        Err(ShapeError(format!(
            "parameters, gradients, moments, copy, teacher and its copy of lengths {lengths:?} on the device"
        )))
    }
}
