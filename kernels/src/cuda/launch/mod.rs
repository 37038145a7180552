//! Launches of the kernels on one device.
//!
//! Guarantee: every launch passes the arguments that the entry point of its name declares; kernels run on the stream
//! in the order of the calls.

mod optim;

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, CudaView, CudaViewMut, DeviceRepr, LaunchConfig,
    PushKernelArg, ValidAsZeroBits, sys,
};

use crate::cuda::driver::has_driver;
use crate::cuda::{CudaError, DeviceGenes, DeviceRows, DeviceSpace, Source, compile};
use crate::moments::{Moments, Summary};
use crate::number::{Bf16, Column, Element, Value};
use crate::rows::ShapeError;

const THREADS: u32 = 256;

/// Numbers of a dense row that one block holds: 32 KiB of shared memory.
const DENSE_TILE: usize = 8192;

/// Columns that one block sums, and the bytes of each: 48 KiB of shared memory, what a block may have unasked.
const MOMENTS_TILE: usize = 1536;
const MOMENTS_BYTES: usize = 32;

/// Fewest rows of a slab, and the most slabs, which bound the memory for their sums.
const SLAB: usize = 64;
const SLABS: usize = 256;

// SAFETY: a u16 with another name, which the sources declare alike; all bits are valid.
unsafe impl DeviceRepr for Bf16 {}
// SAFETY: as above.
unsafe impl ValidAsZeroBits for Bf16 {}

/// One GPU with the kernels loaded.
#[derive(Debug)]
pub struct Device {
    stream: Arc<CudaStream>,
    expression: Arc<CudaModule>,
    moments: Arc<CudaModule>,
    optim: Arc<CudaModule>,
    /// The first bad row of any launch since the last `finish`, or `u32::MAX`.
    fault: CudaSlice<u32>,
}

impl Device {
    /// The GPU of this number, on its default stream.
    ///
    /// # Errors
    /// When there is no driver, no such GPU, no compiler, or a kernel does not compile for it.
    pub fn new(ordinal: usize) -> Result<Self, CudaError> {
        if !has_driver() {
            return Err(CudaError::NoDriver);
        }
        Self::on(CudaContext::new(ordinal)?.default_stream())
    }

    /// As [`Device::new`], for memory that another library works on, which does so on the default stream too.
    ///
    /// # Errors
    /// As [`Device::new`].
    pub fn shared(ordinal: usize) -> Result<Self, CudaError> {
        let device = Self::new(ordinal)?;
        // SAFETY: all that this context is used for runs on its one stream, so nothing has to be ordered by events.
        unsafe { device.stream.context().disable_event_tracking() };
        Ok(device)
    }

    /// The GPU of a stream; kernels run on this stream.
    ///
    /// # Errors
    /// When there is no compiler, or a kernel does not compile for this GPU.
    pub fn on(stream: Arc<CudaStream>) -> Result<Self, CudaError> {
        let context = stream.context();
        let (major, minor) = context.compute_capability()?;
        let arch = format!("sm_{major}{minor}");
        let load = |source| -> Result<_, CudaError> { Ok(context.load_module((*compile(source, &arch)?).clone())?) };
        let (expression, moments, optim) = (load(Source::EXPRESSION)?, load(Source::MOMENTS)?, load(Source::OPTIM)?);
        let fault = stream.clone_htod(&[u32::MAX])?;
        Ok(Self { stream, expression, moments, optim, fault })
    }

    /// The stream that kernels run on.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Queues [`log_normalise`](crate::expression::log_normalise) of rows on the device into `out` (rows × width).
    ///
    /// # Errors
    /// When the lengths of the slices do not fit together, or the driver refuses. Bad rows are named by
    /// [`Device::finish`].
    pub fn log_normalise<V: Value + DeviceRepr, C: Column + DeviceRepr, T: Element + DeviceRepr>(
        &mut self,
        rows: &DeviceRows<V, C>,
        genes: &DeviceGenes,
        out: &mut CudaViewMut<T>,
    ) -> Result<(), CudaError> {
        rows.check()?;
        let (columns, width) = match genes {
            DeviceGenes::All(width) => (*width, *width),
            DeviceGenes::Places(places, width) => (places.len(), *width),
        };
        if out.len() != rows.len() * width {
            let (places, rows) = (out.len(), rows.len());
            return Err(ShapeError(format!("{places} places for {rows} rows of {width} on the device")).into());
        }
        let (columns, width) = (short(columns, "columns")?, short(width, "genes")?);
        if out.is_empty() {
            return Ok(());
        }
        let (tiles, tile) = tiles(width, DENSE_TILE);
        let function = self.expression.load_function(&format!("log_normalise_{}_{}_{}", V::NAME, C::NAME, T::NAME))?;
        let (stored, none) = (rows.values.len() as u64, NULL);
        let mut launch = self.stream.launch_builder(&function);
        launch.arg(&rows.indptr).arg(&rows.indices).arg(&rows.values).arg(&stored);
        match &rows.totals {
            Some(totals) => launch.arg(totals),
            None => launch.arg(&none),
        };
        match genes {
            DeviceGenes::Places(places, _) => launch.arg(places),
            DeviceGenes::All(_) => launch.arg(&none),
        };
        launch.arg(&columns).arg(&width).arg(&tile).arg(out).arg(&mut self.fault);
        // SAFETY: the arguments are those of `ENTRY_TO` in expression.cu, in its order. The kernel reads `indptr` up to
        // `rows.len()`, the values up to `stored`, `places` up to `columns`, and writes rows of `width`: the lengths
        // checked above. Shared memory is one tile of floats.
        unsafe { launch.launch(grid(rows.len(), tiles, tile as usize * size_of::<f32>()))? };
        Ok(())
    }

    /// The moments of rows on the device, as [`Moments::push_rows`] takes them, each value lowered to `ceiling` of its
    /// column if there is one. Waits for them.
    ///
    /// # Errors
    /// When the lengths of the slices do not fit together, a row is bad, or the driver refuses.
    pub fn moments<V: Value + DeviceRepr, C: Column + DeviceRepr>(
        &mut self,
        columns: usize,
        rows: &DeviceRows<V, C>,
        space: DeviceSpace,
        ceiling: Option<&CudaView<f64>>,
    ) -> Result<Moments, CudaError> {
        rows.check()?;
        if let Some(ceiling) = ceiling
            && ceiling.len() != columns
        {
            return Err(ShapeError(format!("{} ceilings for {columns} columns on the device", ceiling.len())).into());
        }
        if rows.is_empty() || columns == 0 {
            return Ok(Moments::from_parts(rows.len() as u64, vec![Summary::default(); columns]));
        }
        let slab = rows.len().div_ceil(SLABS).max(SLAB);
        let slabs = rows.len().div_ceil(slab);
        let mut partial = self.stream.alloc_zeros::<f64>(slabs * 3 * columns)?;
        let function = self.moments.load_function(&format!("moments_{}_{}", V::NAME, C::NAME))?;
        self.sum_slabs(&function, rows, (space, ceiling), short(columns, "columns")?, (slab, slabs), &mut partial)?;
        let sums = self.fold(&partial, slabs, columns)?;
        self.finish()?;
        let (counts, sums) = sums.split_at(columns);
        let (sums, squares) = sums.split_at(columns);
        let column = |((&count, &sum), &m2): ((&f64, &f64), &f64)| Summary { count: count as u64, sum, m2 };
        let summaries = counts.iter().zip(sums).zip(squares).map(column).collect();
        Ok(Moments::from_parts(rows.len() as u64, summaries))
    }

    fn sum_slabs<V: Value + DeviceRepr, C: Column + DeviceRepr>(
        &mut self,
        function: &CudaFunction,
        rows: &DeviceRows<V, C>,
        (space, ceiling): (DeviceSpace, Option<&CudaView<f64>>),
        columns: u32,
        (slab, slabs): (usize, usize),
        partial: &mut CudaSlice<f64>,
    ) -> Result<(), CudaError> {
        let (tiles, tile) = tiles(columns, MOMENTS_TILE);
        let (stored, n_rows, slab) = (rows.values.len() as u64, rows.len() as u64, slab as u64);
        // The numbers of `enum Space` in moments.cu.
        let space = match space {
            DeviceSpace::Stored => 0_i32,
            DeviceSpace::Log => 1,
            DeviceSpace::Normalised => 2,
        };
        let none = NULL;
        let mut launch = self.stream.launch_builder(function);
        launch.arg(&rows.indptr).arg(&rows.indices).arg(&rows.values).arg(&stored).arg(&n_rows).arg(&space);
        match &rows.totals {
            Some(totals) => launch.arg(totals),
            None => launch.arg(&none),
        };
        match ceiling {
            Some(ceiling) => launch.arg(ceiling),
            None => launch.arg(&none),
        };
        launch.arg(&columns).arg(&tile).arg(&slab).arg(partial).arg(&mut self.fault);
        // SAFETY: the arguments are those of `ENTRY` in moments.cu, in its order. The kernel reads `indptr` and `totals`
        // up to `n_rows`, the values up to `stored`, `ceiling` up to `columns`, and writes three numbers per column of
        // every slab. Shared memory is one tile of `Sums`.
        unsafe { launch.launch(grid(slabs, tiles, tile as usize * MOMENTS_BYTES))? };
        Ok(())
    }

    fn fold(&self, partial: &CudaSlice<f64>, slabs: usize, columns: usize) -> Result<Vec<f64>, CudaError> {
        let mut out = self.stream.alloc_zeros::<f64>(3 * columns)?;
        let (slabs, columns) = (slabs as u32, columns as u32);
        let function = self.moments.load_function("fold")?;
        let mut launch = self.stream.launch_builder(&function);
        launch.arg(partial).arg(&slabs).arg(&columns).arg(&mut out);
        // SAFETY: the arguments are those of `fold` in moments.cu; `partial` holds 3 numbers per slab and column, `out`
        // 3 per column, and a thread beyond the last column leaves.
        unsafe { launch.launch(grid(columns.div_ceil(THREADS) as usize, 1, 0))? };
        Ok(self.stream.clone_dtoh(&out)?)
    }

    /// Waits for the kernels queued so far.
    ///
    /// # Errors
    /// When one of them met a row that names a column beyond the last, or whose values lie outside the slices; or the
    /// driver refuses.
    pub fn finish(&mut self) -> Result<(), CudaError> {
        self.stream.synchronize()?;
        let mut fault = [u32::MAX];
        self.stream.memcpy_dtoh(&self.fault, &mut fault)?;
        if fault == [u32::MAX] {
            return Ok(());
        }
        self.stream.memcpy_htod(&[u32::MAX], &mut self.fault)?;
        let reason = "names a column beyond the last, or lies outside the stored values";
        Err(ShapeError(format!("row {} on the device {reason}", fault[0])).into())
    }
}

/// A null pointer as an argument.
const NULL: sys::CUdeviceptr = 0;

fn short(number: usize, what: &str) -> Result<u32, ShapeError> {
    u32::try_from(number).map_err(|_| ShapeError(format!("{number} {what} are more than a kernel can count")))
}

/// Number of tiles, none larger than `largest`, and their width.
fn tiles(width: u32, largest: usize) -> (usize, u32) {
    let tiles = (width as usize).div_ceil(largest);
    (tiles, width.div_ceil(tiles as u32))
}

fn grid(blocks: usize, tiles: usize, shared: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (blocks as u32, tiles as u32, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: shared as u32,
    }
}
