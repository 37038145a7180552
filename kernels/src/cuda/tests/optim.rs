//! The optimizer's kernels against those of the CPU, where there is a GPU; all bits are compared.

use cudarc::driver::{CudaSlice, CudaStream, DeviceRepr, ValidAsZeroBits};
use std::sync::Arc;

use super::device;
use crate::cuda::{Device, DeviceGradients, DeviceSlices, DeviceTeacher};
use crate::number::{Bf16, Element};
use crate::optim::{self, AdamW, Gradients, NORM_BLOCK, Slices, Teacher, gradient_norm};

/// Two blocks of the norm and a part, with a part of a warp at the end.
const COUNT: usize = 2 * NORM_BLOCK + 333;

const MOMENTUM: f64 = 0.996;

/// Numbers of all sizes up to one, and both signs.
fn numbers<T: Element>(seed: u32) -> Vec<T> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    (0..COUNT).map(|_| T::from_f32((next() as f32 / 8_388_608.0 - 1.0) * 0.5_f32.powi((next() % 40) as i32))).collect()
}

fn bits<T: Element>(values: &[T]) -> Vec<u32> {
    values.iter().map(|x| x.to_f32().to_bits()).collect()
}

/// What an update on the device touches.
struct Held<G> {
    params: CudaSlice<f32>,
    grads: CudaSlice<G>,
    m: CudaSlice<f32>,
    v: CudaSlice<f32>,
    shadow: CudaSlice<Bf16>,
    teacher: CudaSlice<f32>,
    teacher_shadow: CudaSlice<Bf16>,
}

fn updates_agree<G: Element + DeviceRepr + ValidAsZeroBits>(
    device: &mut Device,
    (zeroed, shadows, taught): (bool, bool, bool),
) {
    let step = AdamW { lr: 0.01, weight_decay: 0.1, beta1: 0.9, beta2: 0.95, eps: 1e-8, step: 3, grad_scale: 0.7 };
    let (mut params, mut grads, mut m, mut teacher) =
        (numbers::<f32>(1), numbers::<G>(2), numbers::<f32>(3), numbers::<f32>(4));
    let mut v: Vec<f32> = numbers::<f32>(5).iter().map(|x| x * x).collect();
    let (mut shadow, mut teacher_shadow) = (vec![Bf16(1); COUNT], vec![Bf16(2); COUNT]);
    let stream: Arc<CudaStream> = device.stream().clone();
    let mut held = Held {
        params: stream.clone_htod(&params).unwrap(),
        grads: stream.clone_htod(&grads).unwrap(),
        m: stream.clone_htod(&m).unwrap(),
        v: stream.clone_htod(&v).unwrap(),
        shadow: stream.clone_htod(&shadow).unwrap(),
        teacher: stream.clone_htod(&teacher).unwrap(),
        teacher_shadow: stream.clone_htod(&teacher_shadow).unwrap(),
    };
    let half = held.teacher_shadow.as_view_mut();
    let teacher_held =
        DeviceTeacher { params: held.teacher.as_view_mut(), shadow: shadows.then_some(half), momentum: MOMENTUM };
    let mut slices = DeviceSlices {
        params: held.params.as_view_mut(),
        grads: if zeroed {
            DeviceGradients::Zeroed(held.grads.as_view_mut())
        } else {
            DeviceGradients::Kept(held.grads.as_view())
        },
        m: held.m.as_view_mut(),
        v: held.v.as_view_mut(),
        shadow: shadows.then_some(held.shadow.as_view_mut()),
        teacher: taught.then_some(teacher_held),
    };
    device.update(&mut slices, &step).unwrap();
    let half = shadows.then_some(&mut teacher_shadow[..]);
    let slices = Slices {
        params: &mut params,
        grads: if zeroed { Gradients::Zeroed(&mut grads) } else { Gradients::Kept(&grads) },
        m: &mut m,
        v: &mut v,
        shadow: shadows.then_some(&mut shadow),
        teacher: taught.then_some(Teacher { params: &mut teacher, shadow: half, momentum: MOMENTUM }),
    };
    optim::update(slices, &step);
    for (found, want) in [(&held.params, &params), (&held.m, &m), (&held.v, &v), (&held.teacher, &teacher)] {
        assert_eq!(bits(&stream.clone_dtoh(found).unwrap()), bits(want), "{zeroed} {shadows} {taught}");
    }
    assert_eq!(bits(&stream.clone_dtoh(&held.grads).unwrap()), bits(&grads));
    for (found, want) in [(&held.shadow, &shadow), (&held.teacher_shadow, &teacher_shadow)] {
        assert_eq!(stream.clone_dtoh(found).unwrap(), *want, "{zeroed} {shadows} {taught}");
    }
}

#[test]
fn an_update_on_a_gpu_has_the_bits_of_the_cpu() {
    let Some(mut device) = device() else { return };
    for options in [(false, false, false), (true, true, true), (false, true, false), (true, false, true)] {
        updates_agree::<f32>(&mut device, options);
        updates_agree::<Bf16>(&mut device, options);
    }
}

#[test]
fn the_norm_on_a_gpu_has_the_bits_of_the_cpu_and_sees_what_is_not_finite() {
    let Some(mut device) = device() else { return };
    let stream = device.stream().clone();
    let (mut single, half) = (numbers::<f32>(6), numbers::<Bf16>(7));
    let held = stream.clone_htod(&half).unwrap();
    assert_eq!(device.gradient_norm(&held.as_view()).unwrap(), gradient_norm(&half));
    let held = stream.clone_htod(&single).unwrap();
    for count in [0, 1, 31, 33, NORM_BLOCK, COUNT] {
        let found = device.gradient_norm(&held.slice(..count)).unwrap();
        assert_eq!(found, gradient_norm(&single[..count]), "{count}");
    }
    single[COUNT - 1] = f32::NAN;
    let held = stream.clone_htod(&single).unwrap();
    assert!(!device.gradient_norm(&held.as_view()).unwrap().is_finite());
}

#[test]
fn conversions_on_a_gpu_have_the_bits_of_the_cpu() {
    let Some(mut device) = device() else { return };
    let stream = device.stream().clone();
    let all: Vec<Bf16> = (0..=u16::MAX).map(Bf16).collect();
    let held = stream.clone_htod(&all).unwrap();
    let mut wide = stream.alloc_zeros::<f32>(all.len()).unwrap();
    device.to_f32(&held.as_view(), &mut wide.as_view_mut()).unwrap();
    let found = stream.clone_dtoh(&wide).unwrap();
    assert!(found.iter().zip(&all).all(|(wide, half)| wide.to_bits() == u32::from(half.0) << 16));
    // Every half of a bfloat16's last place, and its neighbours.
    let values: Vec<f32> = (0..=u16::MAX)
        .flat_map(|high| [0x0001_u32, 0x7fff, 0x8000, 0x8001].map(|low| f32::from_bits(u32::from(high) << 16 | low)))
        .collect();
    let held = stream.clone_htod(&values).unwrap();
    let mut out = stream.alloc_zeros::<Bf16>(values.len()).unwrap();
    device.to_bf16(&held.as_view(), &mut out.as_view_mut()).unwrap();
    let mut want = vec![Bf16::default(); values.len()];
    optim::to_bf16(&values, &mut want);
    assert!(stream.clone_dtoh(&out).unwrap() == want);
}

#[test]
fn slices_on_a_gpu_that_differ_in_length_are_refused() {
    let Some(mut device) = device() else { return };
    let stream = device.stream().clone();
    let (long, mut short) = (stream.alloc_zeros::<f32>(9).unwrap(), stream.alloc_zeros::<Bf16>(8).unwrap());
    let error = device.to_bf16(&long.as_view(), &mut short.as_view_mut()).unwrap_err().to_string();
    assert_eq!(error, "8 places for 9 values on the device");
    let mut sums = stream.alloc_zeros::<f64>(2).unwrap();
    let error = device.square_sums(&long.as_view(), &mut sums.as_view_mut()).unwrap_err().to_string();
    assert_eq!(error, "2 sums for 1 blocks of gradients on the device");
}
