//! What an update computes on the flat buffers, where they lie.
//!
//! Guarantee: the norm of a gradient and an optimizer step have the same bits on the processor and on a GPU. A teacher
//! that follows a frozen encoder is moved by torch on a GPU, to rounding.

use std::fmt::Debug;
use std::ops::Range;

use syncyte_kernels::cuda::{self, Borrowed, DeviceGradients, DeviceSlices, DeviceTeacher};
use syncyte_kernels::number::Bf16;
use syncyte_kernels::optim::{AdamW, Gradients, Slices, Teacher, ema, gradient_norm, update};
use tch::{Device, Kind, Tensor};

use super::EngineError;
use super::owned::Run;
use crate::shim::{FlatMut, ShadowMut, borrow, flat};

/// The flat buffers that an update reads and writes.
#[derive(Debug)]
pub(super) struct Flats {
    /// Parameters.
    pub(super) params: Tensor,
    /// Their rounded copy.
    pub(super) shadow: Option<Tensor>,
    /// Gradients.
    pub(super) grads: Tensor,
    /// First and second moments of what this rank updates.
    pub(super) moments: (Tensor, Tensor),
    /// The teacher and its rounded copy.
    pub(super) teacher: Option<(Tensor, Option<Tensor>)>,
}

/// What goes along with a step on a run of elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Along {
    /// Whether the parameters' rounded copy is written.
    pub(super) shadow: bool,
    /// Momentum of the teacher, where it follows.
    pub(super) teacher: Option<f64>,
}

/// Passes over flat buffers.
pub(super) trait Arithmetic: Debug {
    /// Sum of squares of a part of the gradient; not finite where one of the gradients is not.
    fn squares(&mut self, grads: &Tensor, range: Range<usize>) -> Result<f64, EngineError>;

    /// Steps a run of parameters, writes its copies, moves its teacher and zeroes its gradients.
    fn step(&mut self, flats: &mut Flats, run: Run, step: &AdamW, along: Along) -> Result<(), EngineError>;

    /// Moves a part of the teacher towards the parameters, and writes its copy.
    fn follow(&mut self, flats: &mut Flats, range: Range<usize>, momentum: f64) -> Result<(), EngineError>;
}

/// The arithmetic for buffers on a device.
///
/// # Errors
/// When the kernels cannot be had there.
pub(super) fn arithmetic(device: Device) -> Result<Box<dyn Arithmetic>, EngineError> {
    match device {
        Device::Cuda(ordinal) => Ok(Box::new(Gpu { device: cuda::Device::shared(ordinal)? })),
        _ => Ok(Box::new(Processor)),
    }
}

#[derive(Debug)]
struct Processor;

impl Arithmetic for Processor {
    fn squares(&mut self, grads: &Tensor, range: Range<usize>) -> Result<f64, EngineError> {
        Ok(gradient_norm(&flat(grads)?[range]).squares())
    }

    fn step(&mut self, flats: &mut Flats, run: Run, step: &AdamW, along: Along) -> Result<(), EngineError> {
        let Run { range, moments } = run;
        let Flats { params, shadow, grads, moments: (m, v), teacher } = flats;
        let mut shadow = ShadowMut::of(shadow.as_ref().filter(|_| along.shadow));
        let (mut params, mut grads) = (FlatMut::new(params)?, FlatMut::new(grads)?);
        let (mut m, mut v) = (FlatMut::new(m)?, FlatMut::new(v)?);
        let mut teacher = teacher.as_mut().zip(along.teacher).map(|((teacher, shadow), momentum)| {
            Ok::<_, EngineError>((FlatMut::new(teacher)?, ShadowMut::of(shadow.as_ref()), momentum))
        });
        let mut teacher = teacher.take().transpose()?;
        let slices = Slices {
            params: &mut params.as_mut_slice()[range.clone()],
            grads: Gradients::Zeroed(&mut grads.as_mut_slice()[range.clone()]),
            m: &mut m.as_mut_slice()[moments.clone()],
            v: &mut v.as_mut_slice()[moments],
            shadow: shadow.as_mut().map(|shadow| &mut shadow.as_mut_slice()[range.clone()]),
            teacher: teacher.as_mut().map(|(params, shadow, momentum)| Teacher {
                params: &mut params.as_mut_slice()[range.clone()],
                shadow: shadow.as_mut().map(|shadow| &mut shadow.as_mut_slice()[range.clone()]),
                momentum: *momentum,
            }),
        };
        update(slices, step);
        Ok(())
    }

    fn follow(&mut self, flats: &mut Flats, range: Range<usize>, momentum: f64) -> Result<(), EngineError> {
        let Some((teacher, shadow)) = &mut flats.teacher else { return Ok(()) };
        let (mut teacher, mut shadow) = (FlatMut::new(teacher)?, ShadowMut::of(shadow.as_ref()));
        let teacher = Teacher {
            params: &mut teacher.as_mut_slice()[range.clone()],
            shadow: shadow.as_mut().map(|shadow| &mut shadow.as_mut_slice()[range.clone()]),
            momentum,
        };
        ema(teacher, &flat(&flats.params)?[range]);
        Ok(())
    }
}

/// Kernels on the stream that torch works on.
#[derive(Debug)]
struct Gpu {
    device: cuda::Device,
}

impl Gpu {
    /// The memory of a shadow that the kernels write; `None` where there is none, or it is of another kind.
    fn shadow<'a>(&self, shadow: Option<&'a Tensor>) -> Result<Option<Borrowed<'a, Bf16>>, EngineError> {
        let fits = shadow.filter(|shadow| shadow.kind() == Kind::BFloat16);
        Ok(fits.map(|shadow| borrow(&self.device, shadow)).transpose()?)
    }
}

impl Arithmetic for Gpu {
    fn squares(&mut self, grads: &Tensor, range: Range<usize>) -> Result<f64, EngineError> {
        let grads = borrow::<f32>(&self.device, grads)?;
        Ok(self.device.gradient_norm(&grads.range(range))?.squares())
    }

    fn step(&mut self, flats: &mut Flats, run: Run, step: &AdamW, along: Along) -> Result<(), EngineError> {
        let Run { range, moments } = run;
        let mut shadow = self.shadow(flats.shadow.as_ref().filter(|_| along.shadow))?;
        let mut params = borrow::<f32>(&self.device, &flats.params)?;
        let mut grads = borrow::<f32>(&self.device, &flats.grads)?;
        let mut m = borrow::<f32>(&self.device, &flats.moments.0)?;
        let mut v = borrow::<f32>(&self.device, &flats.moments.1)?;
        let teacher = flats.teacher.as_ref().zip(along.teacher).map(|((teacher, shadow), momentum)| {
            Ok::<_, EngineError>((borrow::<f32>(&self.device, teacher)?, self.shadow(shadow.as_ref())?, momentum))
        });
        let mut teacher = teacher.transpose()?;
        let mut slices = DeviceSlices {
            params: params.range_mut(range.clone()),
            grads: DeviceGradients::Zeroed(grads.range_mut(range.clone())),
            m: m.range_mut(moments.clone()),
            v: v.range_mut(moments),
            shadow: shadow.as_mut().map(|shadow| shadow.range_mut(range.clone())),
            teacher: teacher.as_mut().map(|(params, shadow, momentum)| DeviceTeacher {
                params: params.range_mut(range.clone()),
                shadow: shadow.as_mut().map(|shadow| shadow.range_mut(range.clone())),
                momentum: *momentum,
            }),
        };
        Ok(self.device.update(&mut slices, step)?)
    }

    fn follow(&mut self, flats: &mut Flats, range: Range<usize>, momentum: f64) -> Result<(), EngineError> {
        let Some((teacher, shadow)) = &flats.teacher else { return Ok(()) };
        let part = |tensor: &Tensor| tensor.narrow(0, range.start as i64, range.len() as i64);
        let mut own = part(teacher);
        let _ = own.lerp_(&part(&flats.params), 1.0 - momentum);
        if let Some(shadow) = shadow {
            part(shadow).copy_(&own);
        }
        Ok(())
    }
}
