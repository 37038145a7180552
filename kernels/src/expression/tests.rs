//! Golden values, and the fast path against the reference and against double precision.

use proptest::prelude::*;

use super::*;
use crate::number::Bf16;

fn one_row(values: &[f32], scale: Scale) -> Vec<f32> {
    let indices: Vec<u32> = (0..values.len() as u32).collect();
    let mut out = vec![f32::NAN; values.len()];
    let rows = Rows { indptr: &[0, values.len()], indices: &indices, values };
    log_normalise(rows, scale, Genes::All(values.len()), &mut out).unwrap();
    out
}

#[test]
fn one_and_three_counts_become_ln_2501_and_ln_7501() {
    let out = one_row(&[1.0, 3.0], Scale::Library(&[4.0]));
    assert!((f64::from(out[0]) - 2501_f64.ln()).abs() < 1e-6, "{out:?}");
    assert!((f64::from(out[1]) - 7501_f64.ln()).abs() < 1e-6, "{out:?}");
}

#[test]
fn an_empty_cell_stays_zero_and_log_values_pass_through() {
    assert_eq!(one_row(&[0.0, 0.0], Scale::Library(&[0.0])), [0.0, 0.0]);
    assert_eq!(one_row(&[0.3, 9.2], Scale::LogNormalised), [0.3, 9.2]);
}

#[test]
fn places_choose_and_order_the_genes() {
    let rows = Rows { indptr: &[0, 2, 3], indices: &[0_u16, 2, 1], values: &[1_u8, 2, 3] };
    let mut out = [9.0_f32; 4];
    log_normalise(rows, Scale::LogNormalised, Genes::Places(&[1, SKIP, 0], 2), &mut out).unwrap();
    assert_eq!(out.map(f32::to_bits), [2.0, 1.0, 0.0, 0.0].map(f32::to_bits));
}

#[test]
fn what_does_not_fit_is_named() {
    let rows = Rows { indptr: &[0, 1], indices: &[0_u32], values: &[1.0_f32] };
    let error = |scale, genes, out: &mut [f32]| log_normalise(rows, scale, genes, out).unwrap_err().to_string();
    assert!(error(Scale::Library(&[]), Genes::All(1), &mut [0.0]).contains("0 library sizes for 1 rows"));
    assert!(error(Scale::LogNormalised, Genes::All(2), &mut [0.0]).contains("1 places for 1 rows of 2"));
    let beyond = Rows { indptr: &[0, 0, 1], indices: &[3_u32], ..rows };
    let genes = Genes::Places(&[0, 1, SKIP], 2);
    let error = log_normalise(beyond, Scale::LogNormalised, genes, &mut [0.0_f32; 4]).unwrap_err();
    assert_eq!(error.to_string(), "row 1 names column 3 of 3");
    assert_eq!(log_normalise_reference(beyond, Scale::LogNormalised, genes, &mut [0.0_f32; 4]), Err(error));
}

/// Rows of counts over `genes` columns, some empty, some of small counts only (which take a table), some not.
fn counts(genes: usize, largest: u32) -> impl Strategy<Value = Vec<Vec<u32>>> {
    let row =
        prop_oneof![3 => Just(9), 1 => Just(150), 1 => Just(largest), 1 => Just(1)].prop_flat_map(move |ceiling| {
            let count = prop_oneof![3 => Just(0_u32), 4 => 0..ceiling.min(4), 2 => 0..ceiling];
            proptest::collection::vec(count, genes)
        });
    proptest::collection::vec(row, 0..6)
}

struct Block<V, C> {
    indptr: Vec<usize>,
    indices: Vec<C>,
    values: Vec<V>,
    totals: Vec<f32>,
}

impl<V: Value, C: Column> Block<V, C> {
    fn new(rows: &[Vec<u32>], value: impl Fn(u32) -> V, column: impl Fn(usize) -> C) -> Self {
        let (mut indptr, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in rows {
            for (gene, &count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
                indices.push(column(gene));
                values.push(value(count));
            }
            indptr.push(indices.len());
        }
        let totals = rows.iter().map(|row| row.iter().map(|&count| f64::from(count)).sum::<f64>() as f32).collect();
        Self { indptr, indices, values, totals }
    }

    fn rows(&self) -> Rows<'_, V, C> {
        Rows { indptr: &self.indptr, indices: &self.indices, values: &self.values }
    }
}

/// Every level's bits, and those of the reference, for one combination of types.
fn levels_agree<V: Value, C: Column, T: Element>(block: &Block<V, C>, genes: Genes) -> Result<(), TestCaseError> {
    for scale in [Scale::Library(&block.totals), Scale::LogNormalised] {
        let mut want = vec![T::from_f32(7.0); block.totals.len() * genes.width()];
        log_normalise_reference(block.rows(), scale, genes, &mut want).unwrap();
        for level in Level::all() {
            let mut out = vec![T::from_f32(8.0); want.len()];
            level.run(Dense { rows: block.rows(), scale, genes, out: &mut out }).unwrap();
            prop_assert_eq!(&out, &want, "{:?} {} {} {}", level, V::NAME, C::NAME, T::NAME);
        }
    }
    Ok(())
}

const GENES: usize = 300;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_level_and_type_gives_the_bits_of_the_reference(
        rows in counts(GENES, 60_000),
        places in Just((0..GENES as u32).collect::<Vec<_>>()).prop_shuffle(),
        width in 1..GENES,
    ) {
        // A place at or beyond the width is as unwanted as SKIP.
        let places: Vec<u32> = places.iter().map(|&place| if place > 280 { SKIP } else { place }).collect();
        for genes in [Genes::All(GENES), Genes::Places(&places, width)] {
            let bytes = Block::new(&rows, |count| count.min(255) as u8, |gene| gene as u16);
            levels_agree::<_, _, f32>(&bytes, genes)?;
            let short = Block::new(&rows, |count| count as u16, |gene| gene as u16);
            levels_agree::<_, _, f32>(&short, genes)?;
            levels_agree::<_, _, Bf16>(&short, genes)?;
            let long = Block::new(&rows, |count| count, |gene| gene as u32);
            levels_agree::<_, _, f32>(&long, genes)?;
            let real = Block::new(&rows, |count| count as f32 * 0.37, |gene| gene as u32);
            levels_agree::<_, _, f32>(&real, genes)?;
            levels_agree::<_, _, Bf16>(&real, genes)?;
        }
    }

    #[test]
    fn the_type_of_the_counts_does_not_change_a_bit(rows in counts(GENES, 60_000)) {
        let short = Block::new(&rows, |count| count as u16, |gene| gene as u16);
        let real = Block::new(&rows, |count| count as f32, |gene| gene as u32);
        let (mut a, mut b) = (vec![0.0_f32; rows.len() * GENES], vec![1.0_f32; rows.len() * GENES]);
        log_normalise(short.rows(), Scale::Library(&short.totals), Genes::All(GENES), &mut a).unwrap();
        log_normalise(real.rows(), Scale::Library(&real.totals), Genes::All(GENES), &mut b).unwrap();
        prop_assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn a_row_matches_the_formula_and_expands_to_the_target(rows in counts(GENES, 2000), times in 1_u32..50) {
        let block = Block::new(&rows, |count| count, |gene| gene as u16);
        let mut out = vec![1.0_f32; rows.len() * GENES];
        log_normalise(block.rows(), Scale::Library(&block.totals), Genes::All(GENES), &mut out).unwrap();
        for ((dense, counts), total) in out.chunks(GENES).zip(&rows).zip(&block.totals) {
            for (&value, &count) in dense.iter().zip(counts) {
                let want = if count == 0 { 0.0 } else { (1e4 * f64::from(count) / f64::from(*total)).ln_1p() };
                prop_assert!(units(value, want) <= 2.5, "{} {}", value, want);
            }
            let sum: f64 = dense.iter().map(|&v| f64::from(v).exp_m1()).sum();
            prop_assert!(*total == 0.0 || (sum - 1e4).abs() < 0.5, "{}", sum);
        }
        let more: Vec<Vec<u32>> = rows.iter().map(|row| row.iter().map(|count| count * times).collect()).collect();
        let block = Block::new(&more, |count| count, |gene| gene as u16);
        let mut scaled = vec![2.0_f32; out.len()];
        log_normalise(block.rows(), Scale::Library(&block.totals), Genes::All(GENES), &mut scaled).unwrap();
        for (&a, &b) in out.iter().zip(&scaled) {
            prop_assert!(a.to_bits().abs_diff(b.to_bits()) <= 4, "{} {}", a, b);
        }
    }
}

/// Distance from the true value, in units of the last place of the nearest single-precision number.
fn units(value: f32, want: f64) -> f64 {
    let nearest = want as f32;
    let unit = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
    (f64::from(value) - want).abs() / unit
}
