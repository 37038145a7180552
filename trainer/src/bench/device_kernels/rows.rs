//! Passes over sparse cells: dense log-normalised rows, and moments of genes.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DeviceRepr, ValidAsZeroBits};
use syncyte_kernels::cuda::{CudaError, DeviceGenes, DeviceRows, DeviceSpace};
use syncyte_kernels::expression::{Genes, log_normalise};
use syncyte_kernels::moments::{Moments, Space};
use syncyte_kernels::number::{Bf16, Element};
use syncyte_kernels::rows::{Rows, Scale};

use super::agreement::Agreement;
use super::{Bench, DeviceBench, bytes_of};

/// Compares and times them.
pub(super) fn run(bench: &mut Bench, sizes: &DeviceBench) -> Result<(), CudaError> {
    let cells = Cells::new(sizes.cells, sizes.genes);
    let held = cells.to_device(bench.device.stream())?;
    dense::<f32>(bench, &cells, &held, "log_normalise_f32")?;
    dense::<Bf16>(bench, &cells, &held, "log_normalise_bf16")?;
    moments(bench, &cells, &held)
}

/// Cells that have half of the genes, with counts that are small but for a few.
struct Cells {
    genes: usize,
    indptr: Vec<usize>,
    indices: Vec<u16>,
    values: Vec<u16>,
    totals: Vec<f32>,
}

/// The same on the GPU.
struct Held {
    indptr: CudaSlice<u64>,
    indices: CudaSlice<u16>,
    values: CudaSlice<u16>,
    totals: CudaSlice<f32>,
}

impl Cells {
    fn new(cells: usize, genes: usize) -> Self {
        let mut state = 12_345_u32;
        let mut cells_made = Self { genes, indptr: vec![0], indices: vec![], values: vec![], totals: vec![] };
        for _ in 0..cells {
            let mut total = 0.0;
            for gene in 0..genes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let draw = state >> 8;
                if draw.is_multiple_of(2) {
                    let count = if draw.is_multiple_of(1000) { 200 } else { 1 + draw / 2 % 7 };
                    cells_made.indices.push(gene as u16);
                    cells_made.values.push(count as u16);
                    total += count as f32;
                }
            }
            cells_made.indptr.push(cells_made.values.len());
            cells_made.totals.push(total);
        }
        cells_made
    }

    fn len(&self) -> usize {
        self.totals.len()
    }

    fn rows(&self) -> Rows<'_, u16, u16> {
        Rows { indptr: &self.indptr, indices: &self.indices, values: &self.values }
    }

    /// Bytes of all slices on the GPU.
    fn bytes(&self) -> usize {
        bytes_of::<u64>(self.indptr.len()) + bytes_of::<u16>(2 * self.values.len()) + bytes_of::<f32>(self.len())
    }

    fn to_device(&self, stream: &Arc<CudaStream>) -> Result<Held, CudaError> {
        let indptr: Vec<u64> = self.indptr.iter().map(|&start| start as u64).collect();
        Ok(Held {
            indptr: stream.clone_htod(&indptr)?,
            indices: stream.clone_htod(&self.indices)?,
            values: stream.clone_htod(&self.values)?,
            totals: stream.clone_htod(&self.totals)?,
        })
    }
}

impl Held {
    fn rows(&self) -> DeviceRows<'_, u16, u16> {
        DeviceRows {
            indptr: self.indptr.as_view(),
            indices: self.indices.as_view(),
            values: self.values.as_view(),
            totals: Some(self.totals.as_view()),
        }
    }
}

fn dense<T: Element + DeviceRepr + ValidAsZeroBits>(
    bench: &mut Bench,
    cells: &Cells,
    held: &Held,
    kernel: &'static str,
) -> Result<(), CudaError> {
    let stream = bench.device.stream().clone();
    let mut want = vec![T::default(); cells.len() * cells.genes];
    log_normalise(cells.rows(), Scale::Library(&cells.totals), Genes::All(cells.genes), &mut want)?;
    let (rows, genes) = (held.rows(), DeviceGenes::All(cells.genes));
    let mut out = stream.alloc_zeros::<T>(want.len())?;
    bench.device.log_normalise(&rows, &genes, &mut out.as_view_mut())?;
    bench.device.finish()?;
    let agreement = Agreement::exact().bits(&stream.clone_dtoh(&out)?, &want);
    let bytes = cells.bytes() + bytes_of::<T>(want.len());
    bench.time(kernel, bytes, agreement, |device| device.log_normalise(&rows, &genes, &mut out.as_view_mut()))
}

/// Moments come back to the host; what that takes is timed too.
fn moments(bench: &mut Bench, cells: &Cells, held: &Held) -> Result<(), CudaError> {
    let mut want = Moments::new(cells.genes);
    want.push_rows(cells.rows(), Space::Log(Scale::Library(&cells.totals)), None)?;
    let rows = held.rows();
    let found = bench.device.moments(cells.genes, &rows, DeviceSpace::Log, None)?;
    let agreement = Agreement::of_moments(&found, &want);
    let bytes = cells.bytes() + bytes_of::<f64>(3 * cells.genes);
    bench.time("moments", bytes, agreement, |device| {
        device.moments(cells.genes, &rows, DeviceSpace::Log, None).map(|_| ())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_cells_are_rows_that_the_kernels_take() {
        let cells = Cells::new(20, 600);
        let mut out = vec![0.0_f32; 20 * 600];
        log_normalise(cells.rows(), Scale::Library(&cells.totals), Genes::All(600), &mut out).unwrap();
        let share = out.iter().filter(|x| **x > 0.0).count() as f64 / out.len() as f64;
        assert!((share - 0.5).abs() < 0.05, "{share}");
        assert!(cells.values.iter().any(|&count| count > 7));
    }
}
