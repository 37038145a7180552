//! From sparse counts to dense log-normalised expression: `ln(1 + 10⁴·x / library size)`.
//!
//! Guarantee: a cell without counts stays zero, log-normalised input passes through unchanged, and
//! [`log_normalise`] gives the same bits on every machine (no fused operations, no threads), within 4 units in the
//! last place of [`log_normalise_reference`].

use std::fmt;

/// Counts that every cell is scaled to.
pub const TARGET: f32 = 1e4;

/// Place of a gene that is not wanted.
pub const SKIP: u32 = u32::MAX;

/// Rows of a sparse matrix: row `r` owns `indices[indptr[r]..indptr[r + 1]]` and the values there.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Row starts, one more than there are rows.
    pub indptr: &'a [usize],
    /// Column of every value.
    pub indices: &'a [u32],
    /// The values.
    pub values: &'a [f32],
}

/// What the values are.
#[derive(Clone, Copy, Debug)]
pub enum Scale<'a> {
    /// Counts, with the total of every row over all genes of the store (not only those that are wanted).
    Library(&'a [f32]),
    /// Log-normalised already.
    LogNormalised,
}

/// Which columns go where in a dense row.
#[derive(Clone, Copy, Debug)]
pub enum Genes<'a> {
    /// All columns, in order.
    All(usize),
    /// Place of every column, or [`SKIP`]; and the width of a dense row.
    Places(&'a [u32], usize),
}

impl Genes<'_> {
    /// Width of a dense row.
    pub fn width(&self) -> usize {
        match *self {
            Self::All(width) | Self::Places(_, width) => width,
        }
    }

    fn place(&self, column: u32) -> Option<usize> {
        let place = match self {
            Self::All(_) => column,
            Self::Places(places, _) => *places.get(column as usize)?,
        };
        ((place as usize) < self.width()).then_some(place as usize)
    }
}

/// Slices whose lengths do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError(String);

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ShapeError {}

/// Writes the rows densely, log-normalised, into `out` (rows × width, row after row).
///
/// # Errors
/// When the lengths of the slices do not fit together.
pub fn log_normalise(rows: Rows, scale: Scale, genes: Genes, out: &mut [f32]) -> Result<(), ShapeError> {
    check(rows, scale, genes, out)?;
    let mut logs = Vec::new();
    for (row, dense) in out.chunks_exact_mut(genes.width().max(1)).enumerate() {
        let span = rows.indptr[row]..rows.indptr[row + 1];
        let values = match scale {
            Scale::LogNormalised => &rows.values[span.clone()],
            Scale::Library(totals) => {
                let factor = if totals[row] > 0.0 { TARGET / totals[row] } else { 0.0 };
                logs.clear();
                logs.extend(rows.values[span.clone()].iter().map(|&value| ln_1p(value * factor)));
                &logs
            }
        };
        dense.fill(0.0);
        for (&column, &value) in rows.indices[span].iter().zip(values) {
            if let Some(place) = genes.place(column) {
                dense[place] = value;
            }
        }
    }
    Ok(())
}

/// [`log_normalise`] as its formula says, value by value in double precision.
///
/// # Errors
/// As [`log_normalise`].
pub fn log_normalise_reference(rows: Rows, scale: Scale, genes: Genes, out: &mut [f32]) -> Result<(), ShapeError> {
    check(rows, scale, genes, out)?;
    out.fill(0.0);
    for row in 0..rows.indptr.len() - 1 {
        for at in rows.indptr[row]..rows.indptr[row + 1] {
            let Some(place) = genes.place(rows.indices[at]) else { continue };
            let value = f64::from(rows.values[at]);
            out[row * genes.width() + place] = match scale {
                Scale::LogNormalised => rows.values[at],
                Scale::Library(totals) if totals[row] > 0.0 => {
                    (f64::from(TARGET) * value / f64::from(totals[row])).ln_1p() as f32
                }
                Scale::Library(_) => 0.0,
            };
        }
    }
    Ok(())
}

fn check(rows: Rows, scale: Scale, genes: Genes, out: &[f32]) -> Result<(), ShapeError> {
    let n_rows = rows.indptr.len().saturating_sub(1);
    let nnz = rows.values.len();
    if rows.indptr.last() != Some(&nnz) || !rows.indptr.is_sorted() || rows.indices.len() != nnz {
        let (last, indices) = (rows.indptr.last(), rows.indices.len());
        return Err(ShapeError(format!("indptr ends at {last:?}, with {indices} indices and {nnz} values")));
    }
    if let Scale::Library(totals) = scale
        && totals.len() != n_rows
    {
        return Err(ShapeError(format!("{} library sizes for {n_rows} rows", totals.len())));
    }
    if out.len() != n_rows * genes.width() {
        return Err(ShapeError(format!("{} places for {n_rows} rows of {}", out.len(), genes.width())));
    }
    Ok(())
}

/// ln(1 + x) for x ≥ 0, without branches, so that the compiler makes vector code of a loop over it.
///
/// 1 + x = 2^e·(1 + f) with 1 + f in [√½, √2); ln(1 + f) = 2·artanh(s), s = f / (2 + f), of which the series in s²
/// needs four terms for single precision. What rounding 1 + x lost, divided by 1 + x, is added back.
#[inline]
fn ln_1p(x: f32) -> f32 {
    // ln 2 in two parts; the first is short, so that its product with an exponent is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    const SQRT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let u = 1.0 + x;
    let lost = (x - (u - 1.0)) / u;
    let shifted = u.to_bits().wrapping_sub(SQRT_HALF);
    let exponent = ((shifted as i32) >> 23) as f32;
    let f = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    let s = f / (2.0 + f);
    let w = s * s;
    let tail = w * (2.0 / 3.0 + w * (2.0 / 5.0 + w * (2.0 / 7.0 + w * (2.0 / 9.0))));
    let half = 0.5 * f * f;
    exponent * LN2_HIGH + (f - (half - (s * (half + tail) + (exponent * LN2_LOW + lost))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        let rows = Rows { indptr: &[0, 2, 3], indices: &[0, 2, 1], values: &[1.0, 2.0, 3.0] };
        let mut out = [9.0; 4];
        log_normalise(rows, Scale::LogNormalised, Genes::Places(&[1, SKIP, 0], 2), &mut out).unwrap();
        assert_eq!(out.map(f32::to_bits), [2.0, 1.0, 0.0, 0.0].map(f32::to_bits));
    }

    #[test]
    fn lengths_that_do_not_fit_are_named() {
        let rows = Rows { indptr: &[0, 1], indices: &[0], values: &[1.0] };
        let error = |scale, genes, out: &mut [f32]| log_normalise(rows, scale, genes, out).unwrap_err().to_string();
        assert!(error(Scale::Library(&[]), Genes::All(1), &mut [0.0]).contains("0 library sizes for 1 rows"));
        assert!(error(Scale::LogNormalised, Genes::All(2), &mut [0.0]).contains("1 places for 1 rows of 2"));
        let rows = Rows { indptr: &[0, 2], indices: &[0], values: &[1.0] };
        assert!(log_normalise(rows, Scale::LogNormalised, Genes::All(1), &mut [0.0]).is_err());
    }

    fn ulps(a: f32, b: f32) -> u32 {
        a.to_bits().abs_diff(b.to_bits())
    }

    #[test]
    fn the_logarithm_is_within_four_units_in_the_last_place_over_the_whole_range() {
        let mut x = 1e-12_f32;
        while x < 1e12 {
            let want = f64::from(x).ln_1p() as f32;
            assert!(ulps(ln_1p(x), want) <= 4, "{x}: {} {want}", ln_1p(x));
            x *= 1.000_3;
        }
        assert_eq!(ln_1p(0.0).to_bits(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn fast_and_reference_agree_and_a_row_expands_to_the_target(
            rows in proptest::collection::vec(proptest::collection::vec(0_u16..2000, 7), 1..6),
            factor in 1_u32..50,
        ) {
            let (mut indptr, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
            for row in &rows {
                for (gene, &count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
                    indices.push(gene as u32);
                    values.push(f32::from(count));
                }
                indptr.push(indices.len());
            }
            let totals: Vec<f32> = rows.iter().map(|row| row.iter().map(|&c| f32::from(c)).sum()).collect();
            let view = Rows { indptr: &indptr, indices: &indices, values: &values };
            let (mut fast, mut slow) = (vec![1.0; rows.len() * 7], vec![2.0; rows.len() * 7]);
            log_normalise(view, Scale::Library(&totals), Genes::All(7), &mut fast).unwrap();
            log_normalise_reference(view, Scale::Library(&totals), Genes::All(7), &mut slow).unwrap();
            for (&a, &b) in fast.iter().zip(&slow) {
                prop_assert!(ulps(a, b) <= 6, "{} {}", a, b);
            }
            for (row, total) in fast.chunks(7).zip(&totals) {
                let sum: f64 = row.iter().map(|&v| f64::from(v).exp_m1()).sum();
                prop_assert!(*total == 0.0 || (sum - 1e4).abs() < 0.5, "{}", sum);
            }
            let scaled: Vec<f32> = values.iter().map(|v| v * factor as f32).collect();
            let scaled_totals: Vec<f32> = totals.iter().map(|t| t * factor as f32).collect();
            let view = Rows { values: &scaled, ..view };
            log_normalise(view, Scale::Library(&scaled_totals), Genes::All(7), &mut slow).unwrap();
            for (&a, &b) in fast.iter().zip(&slow) {
                prop_assert!(ulps(a, b) <= 6);
            }
        }
    }
}
