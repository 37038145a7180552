//! The kernels on an NVIDIA GPU.
//!
//! Guarantee: dense rows have the bits of [`expression`](crate::expression), and so has all of [`optim`](crate::optim);
//! moments are the same in every run and equal [`moments`](crate::moments) to rounding. Nothing CUDA is needed to
//! build: driver and compiler are opened when they are first used, and their absence is an error, never a panic. A
//! kernel reads nothing outside its slices whatever the rows say; a bad row is reported by [`Device::finish`].

mod borrow;
mod compile;
mod driver;
mod error;
mod launch;
mod slices;
#[cfg(test)]
mod tests;

pub use borrow::Borrowed;
pub use compile::{Source, compile, has_compiler};
use cudarc::driver::CudaView;
pub use driver::{Driver, Gpu, driver};
pub use error::CudaError;
pub use launch::Device;
pub use slices::{DeviceGradients, DeviceSlices, DeviceTeacher};

use crate::number::{Column, Value};
use crate::rows::ShapeError;

/// Rows on the device, as [`Rows`](crate::rows::Rows) are on the host; no row names a column twice.
#[derive(Debug)]
pub struct DeviceRows<'a, V, C> {
    /// Row starts, one more than there are rows.
    pub indptr: CudaView<'a, u64>,
    /// Column of every value.
    pub indices: CudaView<'a, C>,
    /// The values.
    pub values: CudaView<'a, V>,
    /// Library size of every row; none for values that are log-normalised already.
    pub totals: Option<CudaView<'a, f32>>,
}

/// Which columns go where in a dense row, as [`Genes`](crate::expression::Genes) are on the host.
#[derive(Debug)]
pub enum DeviceGenes<'a> {
    /// All columns, in order.
    All(usize),
    /// Place of every column, or [`SKIP`](crate::expression::SKIP); and the width of a dense row.
    Places(CudaView<'a, u32>, usize),
}

/// Which transform of the stored values is summed, as [`Space`](crate::moments::Space) is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSpace {
    /// The values as they are stored.
    Stored,
    /// Log-normalised expression.
    Log,
    /// Normalised counts.
    Normalised,
}

impl<V: Value, C: Column> DeviceRows<'_, V, C> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self) -> Result<(), ShapeError> {
        let (rows, indices, values) = (self.len(), self.indices.len(), self.values.len());
        if self.indptr.is_empty() || indices != values || rows > i32::MAX as usize {
            let starts = self.indptr.len();
            return Err(ShapeError(format!(
                "{starts} row starts, {indices} indices and {values} values on the device"
            )));
        }
        match &self.totals {
            Some(totals) if totals.len() != rows => {
                Err(ShapeError(format!("{} library sizes for {rows} rows on the device", totals.len())))
            }
            _ => Ok(()),
        }
    }
}
