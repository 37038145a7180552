//! The update against golden values, against double precision, and against its reference bit by bit.

use proptest::prelude::*;

use super::update::{ema_at, update_at};
use super::*;
use crate::number::{Bf16, Element};
use crate::simd::Level;

const STEP: AdamW =
    AdamW { lr: 0.1, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 1, grad_scale: 1.0 };

/// What an update does beside the step itself.
#[derive(Clone, Copy, Debug)]
struct Options {
    zeroed: bool,
    shadow: bool,
    /// Whether there is a teacher, and whether it has a copy.
    teacher: Option<bool>,
}

impl Options {
    /// Everything at once.
    const EVERYTHING: Self = Self { zeroed: true, shadow: true, teacher: Some(true) };

    fn all() -> impl Iterator<Item = Self> {
        let flags = [false, true];
        [None, Some(false), Some(true)].into_iter().flat_map(move |teacher| {
            flags.into_iter().flat_map(move |zeroed| flags.map(|shadow| Self { zeroed, shadow, teacher }))
        })
    }
}

/// Everything that an update may touch.
#[derive(Clone, Debug, Default)]
struct Buffers<G> {
    params: Vec<f32>,
    grads: Vec<G>,
    m: Vec<f32>,
    v: Vec<f32>,
    shadow: Vec<Bf16>,
    teacher: Vec<f32>,
    teacher_shadow: Vec<Bf16>,
}

impl<G: Element> Buffers<G> {
    /// Of rows `[w, g, m, v, t]`.
    fn new(rows: &[[f32; 5]]) -> Self {
        let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<f32>>();
        let unwritten = vec![Bf16(0x1234); rows.len()];
        Self {
            params: column(0),
            grads: column(1).into_iter().map(G::from_f32).collect(),
            m: column(2),
            v: column(3),
            shadow: unwritten.clone(),
            teacher: column(4),
            teacher_shadow: unwritten,
        }
    }

    fn slices(&mut self, options: Options, momentum: f64) -> Slices<'_, G> {
        let teacher = options.teacher.map(|shadow| Teacher {
            params: &mut self.teacher,
            shadow: shadow.then_some(&mut self.teacher_shadow),
            momentum,
        });
        Slices {
            params: &mut self.params,
            grads: if options.zeroed { Gradients::Zeroed(&mut self.grads) } else { Gradients::Kept(&self.grads) },
            m: &mut self.m,
            v: &mut self.v,
            shadow: options.shadow.then_some(&mut self.shadow),
            teacher,
        }
    }

    /// The bits of everything. All that are not numbers are alike: which of them an operation gives is not defined.
    fn bits(&self) -> Vec<u32> {
        let quiet = |x: f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
        let halves = self.shadow.iter().chain(&self.teacher_shadow).map(|x| x.to_f32());
        let grads = self.grads.iter().map(|g| g.to_f32());
        let singles = [&self.params, &self.m, &self.v, &self.teacher].into_iter().flatten().copied();
        singles.chain(grads).chain(halves).map(quiet).collect()
    }
}

#[test]
fn two_steps_match_the_golden_values() {
    for level in Level::all() {
        let mut state = Buffers::<f32>::new(&[[1.0, 0.5, 0.0, 0.0, 1.0]; 33]);
        update_at(level, state.slices(Options::EVERYTHING, 0.5), &STEP);
        assert!((f64::from(state.params[0]) - 0.899_000_002_0).abs() < 1e-7, "{:?}", state.params);
        state.grads.fill(-0.25);
        update_at(level, state.slices(Options::EVERYTHING, 0.5), &AdamW { step: 2, ..STEP });
        assert!((f64::from(state.params[0]) - 0.871_467_298_7).abs() < 1e-7, "{:?}", state.params);
        // 1 → (1 + .899)/2 → (.9495 + .8714673)/2; 7/8 is .875, the next bfloat16 below is .87109375.
        assert!((f64::from(state.teacher[0]) - 0.910_483_649_9).abs() < 1e-6, "{:?}", state.teacher);
        assert_eq!(state.shadow[0].to_f32(), 0.871_093_75);
        assert_eq!(state.grads, [0.0; 33]);
        assert!(state.params.iter().all(|w| w.to_bits() == state.params[0].to_bits()));
    }
}

#[test]
fn teacher_error_shrinks_as_a_power_of_the_momentum() {
    let mut teacher = [1.0_f32; 37];
    for _ in 0..173 {
        ema(Teacher { params: &mut teacher, shadow: None, momentum: 0.996 }, &[0.0; 37]);
    }
    assert!(teacher.iter().all(|t| (t - 0.996_f32.powi(173)).abs() < 1e-5), "{teacher:?}");
    assert!((teacher[0] - 0.5).abs() < 0.001, "half-life of .996 is 173 steps, got {teacher:?}");
}

#[test]
fn slices_of_different_lengths_are_refused_before_anything_is_written() {
    let shorten: [fn(&mut Buffers<f32>); 6] = [
        |state| state.grads.truncate(1),
        |state| state.m.truncate(1),
        |state| state.v.truncate(1),
        |state| state.shadow.truncate(1),
        |state| state.teacher.truncate(1),
        |state| state.teacher_shadow.truncate(1),
    ];
    for shorten in shorten {
        let mut state = Buffers::new(&[[1.0, 0.5, 0.0, 0.0, 1.0]; 2]);
        shorten(&mut state);
        let before = state.bits();
        let call = std::panic::AssertUnwindSafe(|| update(state.slices(Options::EVERYTHING, 0.5), &STEP));
        assert!(std::panic::catch_unwind(call).is_err());
        assert_eq!(state.bits(), before);
    }
}

#[test]
fn pieces_on_several_threads_give_the_bits_of_one_pass() {
    let rows: Vec<_> = (0_i16..1001).map(|i| [i, i - 500, i % 7, i % 5, i + 1].map(|x| f32::from(x) * 0.01)).collect();
    let (mut whole, mut pieces) = (Buffers::<Bf16>::new(&rows), Buffers::<Bf16>::new(&rows));
    update(whole.slices(Options::EVERYTHING, 0.99), &STEP);
    let (first, rest) = pieces.slices(Options::EVERYTHING, 0.99).split_at(123);
    let (second, third) = rest.split_at(640);
    std::thread::scope(|scope| {
        for piece in [first, second, third] {
            scope.spawn(|| update(piece, &STEP));
        }
    });
    assert_eq!(pieces.bits(), whole.bits());
}

/// The same step in double precision, one element at a time.
fn in_double(row: &[f32; 5], s: &AdamW, momentum: f64) -> [f64; 4] {
    let [w, g, m, v, t] = row.map(f64::from);
    let g = g * s.grad_scale;
    let (m, v) = (s.beta1 * m + (1.0 - s.beta1) * g, s.beta2 * v + (1.0 - s.beta2) * g * g);
    let m_hat = m / (1.0 - s.beta1.powi(s.step as i32));
    let v_hat = v / (1.0 - s.beta2.powi(s.step as i32));
    let w = w - s.lr * s.weight_decay * w - s.lr * m_hat / (v_hat.sqrt() + s.eps);
    [w, m, v, momentum * t + (1.0 - momentum) * w]
}

fn levels_agree<G: Element>(rows: &[[f32; 5]], step: &AdamW, momentum: f64) -> Result<(), TestCaseError> {
    for options in Options::all() {
        let mut want = Buffers::<G>::new(rows);
        update_reference(want.slices(options, momentum), step);
        for level in Level::all() {
            let mut found = Buffers::<G>::new(rows);
            update_at(level, found.slices(options, momentum), step);
            prop_assert_eq!(found.bits(), want.bits(), "{:?} {:?} {}", level, options, G::NAME);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_level_and_option_gives_the_bits_of_the_reference(
        rows in prop::collection::vec(prop_oneof![
            prop::array::uniform5(-2.0_f32..2.0).prop_map(|[w, g, m, v, t]| [w, g, m, v.abs(), t]),
            // Anything: too small, too large, no number.
            prop::array::uniform5(any::<f32>()),
        ], 0..100),
        step in 1_u64..1000,
        (grad_scale, weight_decay, momentum) in (0.1_f64..1.0, 0.0_f64..0.1, 0.9_f64..=1.0),
    ) {
        let step = AdamW { weight_decay, step, grad_scale, ..STEP };
        levels_agree::<f32>(&rows, &step, momentum)?;
        levels_agree::<Bf16>(&rows, &step, momentum)?;
    }

    #[test]
    fn the_update_equals_double_precision(
        rows in prop::collection::vec(
            (-2.0_f32..2.0, -2.0_f32..2.0, -0.5_f32..0.5, 0.01_f32..1.0, -2.0_f32..2.0).prop_map(<[f32; 5]>::from),
            1..80,
        ),
        step in 1_u64..1000,
        (grad_scale, momentum) in (0.1_f64..1.0, 0.9_f64..1.0),
    ) {
        let step = AdamW { step, grad_scale, ..STEP };
        let options = Options { zeroed: false, ..Options::EVERYTHING };
        let mut state = Buffers::<f32>::new(&rows);
        update(state.slices(options, momentum), &step);
        let near = |a: f32, b: f64, tolerance: f64| (f64::from(a) - b).abs() < tolerance * (1.0 + b.abs());
        for (i, row) in rows.iter().enumerate() {
            let [w, m, v, t] = in_double(row, &step, momentum);
            prop_assert!(near(state.params[i], w, 2e-5) && near(state.teacher[i], t, 2e-5), "{w} {t} {row:?}");
            prop_assert!(near(state.m[i], m, 1e-6) && near(state.v[i], v, 1e-6), "{m} {v} {row:?}");
            prop_assert_eq!(state.shadow[i], Bf16::from_f32(state.params[i]));
            prop_assert_eq!(state.teacher_shadow[i], Bf16::from_f32(state.teacher[i]));
            prop_assert_eq!(state.grads[i], row[1]);
        }
    }

    #[test]
    fn a_teacher_alone_moves_as_one_in_an_update_does(
        rows in prop::collection::vec(prop::array::uniform5(-2.0_f32..2.0), 0..100), momentum in 0.9_f64..=1.0,
    ) {
        // A step of length zero leaves the student as it is.
        let step = AdamW { lr: 0.0, ..STEP };
        let options = Options { zeroed: false, shadow: false, teacher: Some(true) };
        let rows: Vec<_> = rows.into_iter().map(|[w, g, m, v, t]| [w, g, m, v.abs(), t]).collect();
        let mut want = Buffers::<f32>::new(&rows);
        update_reference(want.slices(options, momentum), &step);
        for level in Level::all() {
            let mut found = Buffers::<f32>::new(&rows);
            let teacher = Teacher { params: &mut found.teacher, shadow: Some(&mut found.teacher_shadow), momentum };
            ema_at(level, teacher, &found.params);
            prop_assert_eq!(&found.teacher, &want.teacher);
            prop_assert_eq!(&found.teacher_shadow, &want.teacher_shadow);
        }
    }

    #[test]
    fn a_frozen_student_draws_its_teacher_to_itself(student in -2.0_f32..2.0, teacher in -2.0_f32..2.0) {
        let mut moved = [teacher];
        ema(Teacher { params: &mut moved, shadow: None, momentum: 0.0 }, &[student]);
        prop_assert!((moved[0] - student).abs() <= 1e-6);
    }
}
