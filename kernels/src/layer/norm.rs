//! Layer norm (Ba, Kiros & Hinton, *Layer normalization*, 2016) over rows, with an affine map, and its gradients.

use super::{BLOCK, check_rows, join, run_all};
use crate::number::{Bf16, Element};
use crate::simd::{FusedTask, Level, mul_add};

/// Numbers that are worked on at once: two of the widest vectors, so that sums do not wait for one another.
const LINE: usize = 32;

/// What backward needs of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowStatistics {
    /// Mean of the row.
    pub mean: f32,
    /// One over the root of its variance plus epsilon.
    pub rstd: f32,
}

/// `out = (x − mean) · rstd · weight + bias` for every row of `x`, which is as wide as `weight`.
///
/// # Panics
/// When the lengths do not fit together.
pub fn layer_norm(
    x: &[Bf16],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [Bf16],
    statistics: &mut [RowStatistics],
) {
    layer_norm_at(Level::best(), x, (weight, bias, eps), out, statistics);
}

pub(super) fn layer_norm_at(
    level: Level,
    x: &[Bf16],
    (weight, bias, eps): (&[f32], &[f32], f32),
    out: &mut [Bf16],
    statistics: &mut [RowStatistics],
) {
    let width = weight.len();
    check_rows(x.len(), width);
    assert!(bias.len() == width && out.len() == x.len() && statistics.len() == x.len() / width, "rows do not fit");
    let block = BLOCK * width;
    let tasks = x.chunks(block).zip(out.chunks_mut(block)).zip(statistics.chunks_mut(BLOCK));
    run_all(level, tasks.map(|((x, out), statistics)| Forward { x, weight, bias, eps, out, statistics }).collect());
}

/// Gradients from that of the output, `given`: `dx` for every row, `dweight` and `dbias` summed over rows.
///
/// # Panics
/// When the lengths do not fit together.
pub fn layer_norm_backward(
    given: &[Bf16],
    x: &[Bf16],
    statistics: &[RowStatistics],
    weight: &[f32],
    dx: &mut [Bf16],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    layer_norm_backward_at(Level::best(), given, (x, statistics, weight), dx, (dweight, dbias));
}

pub(super) fn layer_norm_backward_at(
    level: Level,
    given: &[Bf16],
    (x, statistics, weight): (&[Bf16], &[RowStatistics], &[f32]),
    dx: &mut [Bf16],
    (dweight, dbias): (&mut [f32], &mut [f32]),
) {
    let width = weight.len();
    check_rows(x.len(), width);
    let fits = given.len() == x.len() && dx.len() == x.len() && statistics.len() == x.len() / width;
    assert!(fits && dweight.len() == width && dbias.len() == width, "rows do not fit");
    let block = BLOCK * width;
    let blocks = x.len().div_ceil(block);
    let (mut dweights, mut dbiases) = (vec![0.0; blocks * width], vec![0.0; blocks * width]);
    let rows = given.chunks(block).zip(x.chunks(block)).zip(statistics.chunks(BLOCK)).zip(dx.chunks_mut(block));
    let sums = dweights.chunks_mut(width).zip(dbiases.chunks_mut(width));
    let tasks = rows.zip(sums).map(|((((given, x), statistics), dx), (dweight, dbias))| Backward {
        given,
        x,
        statistics,
        weight,
        dx,
        dweight,
        dbias,
    });
    run_all(level, tasks.collect());
    join(&dweights, dweight);
    join(&dbiases, dbias);
}

struct Forward<'a> {
    x: &'a [Bf16],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    out: &'a mut [Bf16],
    statistics: &'a mut [RowStatistics],
}

impl FusedTask for Forward<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(self) {
        let width = self.weight.len();
        let mut row = vec![0.0_f32; width];
        let rows = self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width));
        for ((x, out), statistics) in rows.zip(self.statistics) {
            let mean = widen(x, &mut row) / width as f32;
            let variance = squares::<FUSED>(&row, mean) / width as f32;
            let rstd = 1.0 / (variance + self.eps).sqrt();
            *statistics = RowStatistics { mean, rstd };
            let (lines, rest) = out.as_chunks_mut::<LINE>();
            let [row, weight, bias] = [&row, self.weight, self.bias].map(|values| values.as_chunks::<LINE>());
            for (((out, row), weight), bias) in lines.iter_mut().zip(row.0).zip(weight.0).zip(bias.0) {
                *out = normalised::<FUSED, LINE>(row, weight, bias, mean, rstd);
            }
            for (((out, &row), &weight), &bias) in rest.iter_mut().zip(row.1).zip(weight.1).zip(bias.1) {
                [*out] = normalised::<FUSED, 1>(&[row], &[weight], &[bias], mean, rstd);
            }
        }
    }
}

#[inline(always)]
fn normalised<const FUSED: bool, const N: usize>(
    row: &[f32; N],
    weight: &[f32; N],
    bias: &[f32; N],
    mean: f32,
    rstd: f32,
) -> [Bf16; N] {
    let mut out = [Bf16::default(); N];
    for i in 0..N {
        out[i] = Bf16::from_f32(mul_add::<FUSED>((row[i] - mean) * rstd, weight[i], bias[i]));
    }
    out
}

/// Copies a row in single precision, and gives its sum.
#[inline(always)]
fn widen(x: &[Bf16], row: &mut [f32]) -> f32 {
    let (from, from_rest) = x.as_chunks::<LINE>();
    let (to, to_rest) = row.as_chunks_mut::<LINE>();
    let mut lanes = [0.0_f32; LINE];
    for (to, from) in to.iter_mut().zip(from) {
        let mut line = [0.0_f32; LINE];
        for i in 0..LINE {
            line[i] = from[i].to_f32();
            lanes[i] += line[i];
        }
        *to = line;
    }
    let mut sum = total(lanes);
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = from.to_f32();
        sum += *to;
    }
    sum
}

/// Sum of squared distances from the mean.
#[inline(always)]
fn squares<const FUSED: bool>(row: &[f32], mean: f32) -> f32 {
    let (lines, rest) = row.as_chunks::<LINE>();
    let mut lanes = [0.0_f32; LINE];
    for line in lines {
        for i in 0..LINE {
            let distance = line[i] - mean;
            lanes[i] = mul_add::<FUSED>(distance, distance, lanes[i]);
        }
    }
    rest.iter().fold(total(lanes), |sum, value| sum + (value - mean) * (value - mean))
}

/// The sum of lanes, halves first.
#[inline(always)]
fn total(mut lanes: [f32; LINE]) -> f32 {
    let mut half = LINE / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

struct Backward<'a> {
    given: &'a [Bf16],
    x: &'a [Bf16],
    statistics: &'a [RowStatistics],
    weight: &'a [f32],
    dx: &'a mut [Bf16],
    dweight: &'a mut [f32],
    dbias: &'a mut [f32],
}

impl FusedTask for Backward<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const LANES: usize>(self) {
        let width = self.weight.len();
        // A row's normal numbers, and its gradient times the weight.
        let (mut normal, mut pulled) = (vec![0.0_f32; width], vec![0.0_f32; width]);
        let rows = self.given.chunks_exact(width).zip(self.x.chunks_exact(width)).zip(self.dx.chunks_exact_mut(width));
        for (((given, x), dx), &statistics) in rows.zip(self.statistics) {
            let row = Row { given, x, weight: self.weight, statistics };
            let (sum, product) = row.pull::<FUSED>((&mut normal, &mut pulled), (&mut *self.dweight, &mut *self.dbias));
            let (sum, product) = (sum / width as f32, product / width as f32);
            let (lines, rest) = dx.as_chunks_mut::<LINE>();
            let (normal, pulled) = (normal.as_chunks::<LINE>(), pulled.as_chunks::<LINE>());
            for ((dx, normal), pulled) in lines.iter_mut().zip(normal.0).zip(pulled.0) {
                let mut line = [Bf16::default(); LINE];
                for i in 0..LINE {
                    let moved = mul_add::<FUSED>(-normal[i], product, pulled[i] - sum);
                    line[i] = Bf16::from_f32(moved * statistics.rstd);
                }
                *dx = line;
            }
            for ((dx, normal), pulled) in rest.iter_mut().zip(normal.1).zip(pulled.1) {
                *dx = Bf16::from_f32((pulled - sum - normal * product) * statistics.rstd);
            }
        }
    }
}

/// A row in backward.
struct Row<'a> {
    given: &'a [Bf16],
    x: &'a [Bf16],
    weight: &'a [f32],
    statistics: RowStatistics,
}

impl Row<'_> {
    /// Fills the two scratch rows, adds to the sums over rows, and gives the sums over this row that `dx` needs: of the
    /// pulled gradient, and of its product with the normal numbers.
    #[inline(always)]
    fn pull<const FUSED: bool>(
        &self,
        (normal, pulled): (&mut [f32], &mut [f32]),
        (dweight, dbias): (&mut [f32], &mut [f32]),
    ) -> (f32, f32) {
        let RowStatistics { mean, rstd } = self.statistics;
        let (given, x, weight) =
            (self.given.as_chunks::<LINE>(), self.x.as_chunks::<LINE>(), self.weight.as_chunks::<LINE>());
        let (normal, pulled) = (normal.as_chunks_mut::<LINE>(), pulled.as_chunks_mut::<LINE>());
        let (dweight, dbias) = (dweight.as_chunks_mut::<LINE>(), dbias.as_chunks_mut::<LINE>());
        let (mut sums, mut products) = ([0.0_f32; LINE], [0.0_f32; LINE]);
        let lines = given.0.iter().zip(x.0).zip(weight.0);
        let scratch = normal.0.iter_mut().zip(pulled.0).zip(dweight.0).zip(dbias.0);
        for (((given, x), weight), (((normal, pulled), dweight), dbias)) in lines.zip(scratch) {
            // Copies: the compiler would fear that writing one changes another.
            let (mut n, mut p, mut dw, mut db) = ([0.0_f32; LINE], [0.0_f32; LINE], *dweight, *dbias);
            for i in 0..LINE {
                let g = given[i].to_f32();
                n[i] = (x[i].to_f32() - mean) * rstd;
                p[i] = g * weight[i];
                dw[i] = mul_add::<FUSED>(g, n[i], dw[i]);
                db[i] += g;
                sums[i] += p[i];
                products[i] = mul_add::<FUSED>(p[i], n[i], products[i]);
            }
            (*normal, *pulled, *dweight, *dbias) = (n, p, dw, db);
        }
        let (mut sum, mut product) = (total(sums), total(products));
        let rest = given.1.iter().zip(x.1).zip(weight.1);
        let scratch = normal.1.iter_mut().zip(pulled.1).zip(dweight.1).zip(dbias.1);
        for (((given, x), weight), (((normal, pulled), dweight), dbias)) in rest.zip(scratch) {
            let g = given.to_f32();
            *normal = (x.to_f32() - mean) * rstd;
            *pulled = g * weight;
            *dweight += g * *normal;
            *dbias += g;
            sum += *pulled;
            product += *pulled * *normal;
        }
        (sum, product)
    }
}
