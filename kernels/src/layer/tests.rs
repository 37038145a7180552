use proptest::prelude::*;

use super::norm::{layer_norm_at, layer_norm_backward_at};
use super::sums::column_sums_at;
use super::*;
use crate::number::{Bf16, Element};

const EPS: f32 = 1e-5;

/// Numbers without a pattern between −3 and 3.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let at = |i: usize| ((seed as f64 * 78.233 + i as f64 * 12.9898).sin() * 43_758.545_3).rem_euclid(1.0);
    (0..n).map(|i| (at(i) * 6.0 - 3.0) as f32).collect()
}

fn elements(values: &[f32]) -> Vec<Bf16> {
    values.iter().map(|&value| Bf16::from_f32(value)).collect()
}

fn wide<E: Element>(values: &[E]) -> Vec<f64> {
    values.iter().map(|value| f64::from(value.to_f32())).collect()
}

/// The largest difference, relative to the largest number.
fn distance(found: &[f64], want: &[f64]) -> f64 {
    assert_eq!(found.len(), want.len());
    let largest = want.iter().fold(1e-30_f64, |largest, value| largest.max(value.abs()));
    found.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}

/// Layer norm in double precision: output, `dx`, `dweight`, `dbias`.
fn norm_reference(x: &[f64], weight: &[f64], bias: &[f64], given: &[f64]) -> [Vec<f64>; 4] {
    let width = weight.len();
    let mut all = [vec![], vec![], vec![0.0; width], vec![0.0; width]];
    for (x, given) in x.chunks(width).zip(given.chunks(width)) {
        let n = width as f64;
        let mean = x.iter().sum::<f64>() / n;
        let rstd = 1.0 / (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n + f64::from(EPS)).sqrt();
        let normal: Vec<f64> = x.iter().map(|v| (v - mean) * rstd).collect();
        let pulled: Vec<f64> = given.iter().zip(weight).map(|(g, w)| g * w).collect();
        let sum = pulled.iter().sum::<f64>() / n;
        let product = pulled.iter().zip(&normal).map(|(p, n)| p * n).sum::<f64>() / n;
        for i in 0..width {
            all[0].push(normal[i] * weight[i] + bias[i]);
            all[1].push((pulled[i] - sum - normal[i] * product) * rstd);
            all[2][i] += given[i] * normal[i];
            all[3][i] += given[i];
        }
    }
    all
}

/// The largest distance of forward and backward from the reference, at every level.
fn norm_distance(rows: usize, width: usize, seed: u64) -> f64 {
    let (x, given) = (elements(&noise(seed, rows * width)), elements(&noise(seed + 1, rows * width)));
    let (weight, bias) = (noise(seed + 2, width), noise(seed + 3, width));
    let want = norm_reference(&wide(&x), &wide(&weight), &wide(&bias), &wide(&given));
    let mut largest = 0.0_f64;
    for level in Level::all() {
        let (mut out, mut dx) = (vec![Bf16::default(); x.len()], vec![Bf16::default(); x.len()]);
        let (mut dweight, mut dbias) = (vec![f32::NAN; width], vec![f32::NAN; width]);
        let mut statistics = vec![RowStatistics::default(); rows];
        layer_norm_at(level, &x, (&weight, &bias, EPS), &mut out, &mut statistics);
        let saved = (x.as_slice(), statistics.as_slice(), weight.as_slice());
        layer_norm_backward_at(level, &given, saved, &mut dx, (&mut dweight, &mut dbias));
        largest = largest.max(distance(&wide(&out), &want[0])).max(distance(&wide(&dx), &want[1]));
        // Sums are not rounded to bfloat16.
        assert!(distance(&wide(&dweight), &want[2]) < 1e-5 && distance(&wide(&dbias), &want[3]) < 1e-5);
    }
    largest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layer_norm_and_its_gradients_are_those_of_double_precision(
        rows in 1_usize..150, width in 2_usize..100, seed in 0_u64..1000,
    ) {
        prop_assert!(norm_distance(rows, width, seed) < 5e-3);
    }

    #[test]
    fn columns_are_summed_whatever_their_number(rows in 0_usize..200, width in 1_usize..100, seed in 0_u64..1000) {
        let values = elements(&noise(seed, rows * width));
        let want: Vec<f64> = (0..width).map(|i| wide(&values).iter().skip(i).step_by(width).sum()).collect();
        for level in Level::all() {
            let mut sums = vec![f32::NAN; width];
            column_sums_at(level, &values, &mut sums);
            prop_assert!(distance(&wide(&sums), &want) < 1e-5);
        }
    }
}

#[test]
fn a_row_of_equal_numbers_becomes_the_bias() {
    // One row of each length about the width of a line.
    for width in 30..35 {
        let (x, weight, bias) = (vec![Bf16::from_f32(3.0); width], vec![2.0; width], vec![0.5; width]);
        let (mut out, mut statistics) = (vec![Bf16(1); width], [RowStatistics::default()]);
        layer_norm(&x, &weight, &bias, EPS, &mut out, &mut statistics);
        assert!(out.iter().all(|value| value.to_f32() == 0.5));
        assert_eq!(statistics[0].mean, 3.0);
    }
}

#[test]
fn sums_over_rows_are_the_same_bits_on_any_number_of_threads() {
    let (rows, width) = (1000, 48);
    let values = elements(&noise(1, rows * width));
    let sums = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut sums = vec![f32::NAN; width];
        pool.install(|| column_sums(&values, &mut sums));
        sums
    };
    assert_eq!(sums(1), sums(3));
}
