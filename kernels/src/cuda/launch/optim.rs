//! Launches of the optimizer's kernels.

use cudarc::driver::{CudaView, CudaViewMut, DeviceRepr, LaunchConfig, PushKernelArg};

use super::{NULL, THREADS, grid};
use crate::cuda::{CudaError, Device, DeviceGradients, DeviceSlices};
use crate::number::{Bf16, Element};
use crate::optim::{AdamW, Constants, GradientNorm, NORM_BLOCK};
use crate::rows::ShapeError;

/// Threads of a warp, which sums one block of gradients.
const WARP: usize = 32;

// SAFETY: ten floats without padding, which optim.cu declares alike; all bits are valid.
unsafe impl DeviceRepr for Constants {}

impl Device {
    /// Queues [`update`](crate::optim::update) of slices on the device.
    ///
    /// # Errors
    /// When the slices differ in length, or the driver refuses.
    pub fn update<G: Element + DeviceRepr>(
        &mut self,
        slices: &mut DeviceSlices<G>,
        step: &AdamW,
    ) -> Result<(), CudaError> {
        let count = slices.check()? as u64;
        if count == 0 {
            return Ok(());
        }
        let constants = Constants::new(step, slices.teacher.as_ref().map(|teacher| teacher.momentum));
        let function = self.optim.load_function(&format!("update_{}", G::NAME))?;
        let (none, kept, zeroed) = (NULL, 0_u32, 1_u32);
        let mut launch = self.stream.launch_builder(&function);
        launch.arg(&mut slices.params);
        match &mut slices.grads {
            DeviceGradients::Kept(grads) => launch.arg(&*grads).arg(&kept),
            DeviceGradients::Zeroed(grads) => launch.arg(grads).arg(&zeroed),
        };
        launch.arg(&mut slices.m).arg(&mut slices.v);
        match &mut slices.shadow {
            Some(shadow) => launch.arg(shadow),
            None => launch.arg(&none),
        };
        match &mut slices.teacher {
            Some(teacher) => {
                launch.arg(&mut teacher.params);
                match &mut teacher.shadow {
                    Some(shadow) => launch.arg(shadow),
                    None => launch.arg(&none),
                };
            }
            None => {
                launch.arg(&none).arg(&none);
            }
        }
        launch.arg(&constants).arg(&count);
        // SAFETY: the arguments are those of `update_*` in optim.cu, in its order. Every slice that is not null is
        // `count` long, as checked above; gradients that are kept are not written.
        unsafe { launch.launch(threads(count as usize))? };
        Ok(())
    }

    /// The norm of a gradient on the device, with the bits of [`gradient_norm`](crate::optim::gradient_norm). Waits
    /// for it.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn gradient_norm<G: Element + DeviceRepr>(&mut self, grads: &CudaView<G>) -> Result<GradientNorm, CudaError> {
        let mut sums = self.stream.alloc_zeros::<f64>(grads.len().div_ceil(NORM_BLOCK).max(1))?;
        let blocks = sums.len();
        if !grads.is_empty() {
            self.square_sums(grads, &mut sums.slice_mut(..blocks))?;
        }
        Ok(GradientNorm::of_blocks(&self.stream.clone_dtoh(&sums)?))
    }

    /// Queues [`square_sums`](crate::optim::square_sums) of gradients on the device.
    ///
    /// # Errors
    /// When there are not as many sums as blocks, or the driver refuses.
    pub fn square_sums<G: Element + DeviceRepr>(
        &mut self,
        grads: &CudaView<G>,
        sums: &mut CudaViewMut<f64>,
    ) -> Result<(), CudaError> {
        let (count, blocks) = (grads.len() as u64, grads.len().div_ceil(NORM_BLOCK));
        if sums.len() != blocks {
            let sums = sums.len();
            return Err(ShapeError(format!("{sums} sums for {blocks} blocks of gradients on the device")).into());
        }
        if blocks == 0 {
            return Ok(());
        }
        let function = self.optim.load_function(&format!("square_sums_{}", G::NAME))?;
        let mut launch = self.stream.launch_builder(&function);
        launch.arg(grads).arg(&count).arg(sums);
        // SAFETY: the arguments are those of `square_sums_*` in optim.cu, in its order. There is a sum for every block
        // that begins below `count`, and a warp beyond them leaves.
        unsafe { launch.launch(threads(blocks * WARP))? };
        Ok(())
    }

    /// Queues [`to_bf16`](crate::optim::to_bf16) of values on the device.
    ///
    /// # Errors
    /// When the slices differ in length, or the driver refuses.
    pub fn to_bf16(&mut self, values: &CudaView<f32>, out: &mut CudaViewMut<Bf16>) -> Result<(), CudaError> {
        self.convert(values, out)
    }

    /// Queues [`to_f32`](crate::optim::to_f32) of values on the device.
    ///
    /// # Errors
    /// When the slices differ in length, or the driver refuses.
    pub fn to_f32(&mut self, values: &CudaView<Bf16>, out: &mut CudaViewMut<f32>) -> Result<(), CudaError> {
        self.convert(values, out)
    }

    fn convert<A: Element + DeviceRepr, B: Element + DeviceRepr>(
        &mut self,
        values: &CudaView<A>,
        out: &mut CudaViewMut<B>,
    ) -> Result<(), CudaError> {
        let (count, places) = (values.len(), out.len());
        if count != places {
            return Err(ShapeError(format!("{places} places for {count} values on the device")).into());
        }
        if count == 0 {
            return Ok(());
        }
        let function = self.optim.load_function(&format!("convert_{}_{}", A::NAME, B::NAME))?;
        let length = count as u64;
        let mut launch = self.stream.launch_builder(&function);
        launch.arg(values).arg(out).arg(&length);
        // SAFETY: the arguments are those of `convert_*` in optim.cu, in its order; both slices are `count` long.
        unsafe { launch.launch(threads(count))? };
        Ok(())
    }
}

/// At least so many threads.
fn threads(count: usize) -> LaunchConfig {
    grid(count.div_ceil(THREADS as usize), 1, 0)
}
