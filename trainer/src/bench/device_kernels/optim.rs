//! The optimizer's passes: update, norm of the gradient, conversions.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DeviceRepr, ValidAsZeroBits};
use syncyte_kernels::cuda::{CudaError, Device, DeviceGradients, DeviceSlices, DeviceTeacher};
use syncyte_kernels::number::{Bf16, Element};
use syncyte_kernels::optim::{self, AdamW, Gradients, NORM_BLOCK, Slices, Teacher, gradient_norm};

use super::agreement::Agreement;
use super::{Bench, DeviceBench, bytes_of};

const MOMENTUM: f64 = 0.996;
const STEP: AdamW =
    AdamW { lr: 1e-3, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 10, grad_scale: 0.7 };

/// Compares and times them.
pub(super) fn run(bench: &mut Bench, sizes: &DeviceBench) -> Result<(), CudaError> {
    update::<f32>(bench, sizes, "update_f32", false)?;
    update::<f32>(bench, sizes, "update_f32_shadows", true)?;
    update::<Bf16>(bench, sizes, "update_bf16_shadows", true)?;
    norm::<f32>(bench, sizes, "gradient_norm_f32")?;
    norm::<Bf16>(bench, sizes, "gradient_norm_bf16")?;
    conversions(bench, sizes)
}

/// Numbers of many sizes below one, and of both signs.
fn numbers<T: Element>(seed: u32, count: usize) -> Vec<T> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let mut number = || {
        let size = f32::from_bits((127 - next() % 40) << 23);
        T::from_f32((next() as f32 / 8_388_608.0 - 1.0) * size)
    };
    (0..count).map(|_| number()).collect()
}

/// What an update touches, on the host.
struct Host<G> {
    params: Vec<f32>,
    grads: Vec<G>,
    m: Vec<f32>,
    v: Vec<f32>,
    shadow: Vec<Bf16>,
    teacher: Vec<f32>,
    teacher_shadow: Vec<Bf16>,
}

/// The same on the GPU.
struct Held<G> {
    params: CudaSlice<f32>,
    grads: CudaSlice<G>,
    m: CudaSlice<f32>,
    v: CudaSlice<f32>,
    shadow: CudaSlice<Bf16>,
    teacher: CudaSlice<f32>,
    teacher_shadow: CudaSlice<Bf16>,
}

impl<G: Element + DeviceRepr> Host<G> {
    fn new(sizes: &DeviceBench) -> Self {
        let (all, taught) = (sizes.parameters, sizes.taught);
        Self {
            params: numbers(1, all),
            grads: numbers(2, all),
            m: numbers(3, all),
            v: numbers::<f32>(4, all).iter().map(|x| x * x).collect(),
            shadow: vec![Bf16::default(); all],
            teacher: numbers(5, taught),
            teacher_shadow: vec![Bf16::default(); taught],
        }
    }

    fn to_device(&self, stream: &Arc<CudaStream>) -> Result<Held<G>, CudaError> {
        Ok(Held {
            params: stream.clone_htod(&self.params)?,
            grads: stream.clone_htod(&self.grads)?,
            m: stream.clone_htod(&self.m)?,
            v: stream.clone_htod(&self.v)?,
            shadow: stream.clone_htod(&self.shadow)?,
            teacher: stream.clone_htod(&self.teacher)?,
            teacher_shadow: stream.clone_htod(&self.teacher_shadow)?,
        })
    }

    /// One step, as the engine takes it: parameters with a teacher first, then those without.
    fn step(&mut self, shadows: bool) {
        let slices = Slices {
            params: &mut self.params,
            grads: Gradients::Zeroed(&mut self.grads),
            m: &mut self.m,
            v: &mut self.v,
            shadow: shadows.then_some(self.shadow.as_mut_slice()),
            teacher: None,
        };
        let (with, without) = slices.split_at(self.teacher.len());
        let shadow = shadows.then_some(self.teacher_shadow.as_mut_slice());
        let teacher = Some(Teacher { params: &mut self.teacher, shadow, momentum: MOMENTUM });
        optim::update(Slices { teacher, ..with }, &STEP);
        optim::update(without, &STEP);
    }
}

impl<G: Element + DeviceRepr> Held<G> {
    /// The same step, queued.
    fn step(&mut self, device: &mut Device, shadows: bool) -> Result<(), CudaError> {
        let (taught, all) = (self.teacher.len(), self.params.len());
        for (range, with_teacher) in [(0..taught, true), (taught..all, false)] {
            let teacher = DeviceTeacher {
                params: self.teacher.as_view_mut(),
                shadow: shadows.then_some(self.teacher_shadow.as_view_mut()),
                momentum: MOMENTUM,
            };
            let mut slices = DeviceSlices {
                params: self.params.slice_mut(range.clone()),
                grads: DeviceGradients::Zeroed(self.grads.slice_mut(range.clone())),
                m: self.m.slice_mut(range.clone()),
                v: self.v.slice_mut(range.clone()),
                shadow: shadows.then_some(self.shadow.slice_mut(range)),
                teacher: with_teacher.then_some(teacher),
            };
            device.update(&mut slices, &STEP)?;
        }
        Ok(())
    }

    fn compare(&self, want: &Host<G>, stream: &Arc<CudaStream>) -> Result<Agreement, CudaError> {
        let mut agreement = Agreement::exact().bits(&stream.clone_dtoh(&self.grads)?, &want.grads);
        let singles =
            [(&self.params, &want.params), (&self.m, &want.m), (&self.v, &want.v), (&self.teacher, &want.teacher)];
        for (found, want) in singles {
            agreement = agreement.bits(&stream.clone_dtoh(found)?, want);
        }
        for (found, want) in [(&self.shadow, &want.shadow), (&self.teacher_shadow, &want.teacher_shadow)] {
            agreement = agreement.bits(&stream.clone_dtoh(found)?, want);
        }
        Ok(agreement)
    }
}

fn update<G: Element + DeviceRepr>(
    bench: &mut Bench,
    sizes: &DeviceBench,
    kernel: &'static str,
    shadows: bool,
) -> Result<(), CudaError> {
    let stream = bench.device.stream().clone();
    let mut host = Host::<G>::new(sizes);
    let mut held = host.to_device(&stream)?;
    held.step(&mut bench.device, shadows)?;
    host.step(shadows);
    let agreement = held.compare(&host, &stream)?;
    drop(host);
    let (all, taught) = (sizes.parameters, sizes.taught);
    // Parameters, both moments, gradients and teacher are read and written; bfloat16 copies written.
    let copies = if shadows { bytes_of::<Bf16>(all + taught) } else { 0 };
    let bytes = bytes_of::<f32>(2 * (3 * all + taught)) + bytes_of::<G>(2 * all) + copies;
    bench.time(kernel, bytes, agreement, |device| held.step(device, shadows))
}

fn norm<G: Element + DeviceRepr + ValidAsZeroBits>(
    bench: &mut Bench,
    sizes: &DeviceBench,
    kernel: &'static str,
) -> Result<(), CudaError> {
    let stream = bench.device.stream().clone();
    let host = numbers::<G>(6, sizes.parameters);
    let held = stream.clone_htod(&host)?;
    let found = bench.device.gradient_norm(&held.as_view())?;
    let agreement = Agreement::exact().bits_f64(found.squares(), gradient_norm(&host).squares());
    let mut sums = stream.alloc_zeros::<f64>(host.len().div_ceil(NORM_BLOCK))?;
    let bytes = bytes_of::<G>(host.len()) + bytes_of::<f64>(sums.len());
    bench.time(kernel, bytes, agreement, |device| device.square_sums(&held.as_view(), &mut sums.as_view_mut()))
}

fn conversions(bench: &mut Bench, sizes: &DeviceBench) -> Result<(), CudaError> {
    let (stream, count) = (bench.device.stream().clone(), sizes.parameters);
    let host = numbers::<f32>(7, count);
    let mut half = vec![Bf16::default(); count];
    optim::to_bf16(&host, &mut half);
    let mut single = vec![0.0_f32; count];
    optim::to_f32(&half, &mut single);

    let mut held = stream.clone_htod(&host)?;
    let mut held_half = stream.alloc_zeros::<Bf16>(count)?;
    bench.device.to_bf16(&held.as_view(), &mut held_half.as_view_mut())?;
    let agreement = Agreement::exact().bits(&stream.clone_dtoh(&held_half)?, &half);
    let bytes = bytes_of::<f32>(count) + bytes_of::<Bf16>(count);
    bench.time("to_bf16", bytes, agreement, |device| device.to_bf16(&held.as_view(), &mut held_half.as_view_mut()))?;

    bench.device.to_f32(&held_half.as_view(), &mut held.as_view_mut())?;
    let agreement = Agreement::exact().bits(&stream.clone_dtoh(&held)?, &single);
    bench.time("to_f32", bytes, agreement, |device| device.to_f32(&held_half.as_view(), &mut held.as_view_mut()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_numbers_have_both_signs_and_many_sizes() {
        let numbers = numbers::<f32>(1, 10_000);
        assert!(numbers.iter().all(|x| x.abs() <= 1.0));
        assert!(numbers.iter().filter(|x| **x < 0.0).count() > 4_000);
        assert!(numbers.iter().filter(|x| x.abs() < 1e-6).count() > 1_000);
        assert!(numbers.iter().filter(|x| x.abs() > 0.1).count() > 100);
    }
}
