//! The kernels on a GPU: whether they give what the CPU gives, and how long they take beside a plain copy.
//!
//! Guarantee: every kernel is compared on the very input that it is timed on, before it is timed. Times are those of the
//! GPU's own clock (events on the stream), and bytes count each number that must be read or written once.

mod agreement;
mod optim;
mod rows;

use std::sync::Arc;

use cudarc::driver::CudaStream;
use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use serde::Serialize;
use syncyte_kernels::cuda::{self, CudaError, Device};

use agreement::Agreement;

use syncyte_evaluation::quantile::quantile;

/// Launches between two looks at the clock, so that starting them does not count.
const LAUNCHES: u32 = 4;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct DeviceBench {
    /// Parameters.
    pub parameters: usize,
    /// Parameters that have a teacher; at least one.
    pub taught: usize,
    /// Cells that are made dense.
    pub cells: usize,
    /// Genes of a cell, at most 65,536.
    pub genes: usize,
    /// Turns of each kernel.
    pub turns: usize,
}

/// `syncyte bench kernels --device cuda --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceKernelReport {
    /// Name of the GPU.
    pub device: String,
    /// Whether every kernel agrees with the CPU.
    pub passed: bool,
    /// Parameters.
    pub parameters: usize,
    /// Parameters that have a teacher.
    pub taught: usize,
    /// Cells that are made dense.
    pub cells: usize,
    /// Genes of a cell.
    pub genes: usize,
    /// Bandwidth that the GPU's memory is built for, GB/s, where the driver tells it.
    pub memory_gb_s: Option<f64>,
    /// Bandwidth of a copy of as many f32 as there are parameters on the GPU, bytes read and written, GB/s.
    pub copy_gb_s: f64,
    /// The kernels.
    pub kernels: Vec<DeviceKernelTimes>,
}

/// One kernel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceKernelTimes {
    /// Its name.
    pub kernel: &'static str,
    /// Whether `difference` is at most `tolerance`.
    pub agrees: bool,
    /// Largest difference from the CPU: absolute; of moments relative. What is no number counts as the largest `f64`.
    pub difference: f64,
    /// Largest difference that the kernel promises; 0 asks for equal bits.
    pub tolerance: f64,
    /// Bytes that must be read and written.
    pub bytes: usize,
    /// Best turn, milliseconds.
    pub best_ms: f64,
    /// Median turn, milliseconds.
    pub median_ms: f64,
    /// Bandwidth of the best turn, GB/s.
    pub gb_s: f64,
    /// This bandwidth over that of the copy.
    pub of_copy: f64,
    /// Best turn over the time in which the memory could carry these bytes: 1 is the floor.
    pub times_floor: Option<f64>,
}

/// Compares and times all kernels on the first GPU.
///
/// # Errors
/// When there is no driver, GPU or compiler, or the driver refuses. Kernels that do not agree are told by the report.
pub fn measure(sizes: &DeviceBench) -> Result<DeviceKernelReport, CudaError> {
    let driver = cuda::driver()?;
    let device = Device::new(0)?;
    // The driver that opened a device has told of at least one.
    let (name, bandwidth) = driver.gpus.first().map(|gpu| (gpu.name.clone(), gpu.bandwidth)).unwrap_or_default();
    let copy_gb_s = copy(device.stream(), sizes)?;
    let mut bench = Bench { device, turns: sizes.turns, copy_gb_s, bandwidth, kernels: Vec::new() };
    optim::run(&mut bench, sizes)?;
    rows::run(&mut bench, sizes)?;
    Ok(DeviceKernelReport {
        device: name,
        passed: bench.kernels.iter().all(|kernel| kernel.agrees),
        parameters: sizes.parameters,
        taught: sizes.taught,
        cells: sizes.cells,
        genes: sizes.genes,
        memory_gb_s: bandwidth.map(|bandwidth| bandwidth / 1e9),
        copy_gb_s,
        kernels: bench.kernels,
    })
}

/// What the kernels have in common.
struct Bench {
    device: Device,
    turns: usize,
    copy_gb_s: f64,
    bandwidth: Option<f64>,
    kernels: Vec<DeviceKernelTimes>,
}

impl Bench {
    /// Times a kernel that was compared before.
    fn time(
        &mut self,
        kernel: &'static str,
        bytes: usize,
        agreement: Agreement,
        mut launch: impl FnMut(&mut Device) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let (stream, device) = (self.device.stream().clone(), &mut self.device);
        let times = times(&stream, self.turns, || launch(device))?;
        self.kernels.push(judge(kernel, bytes, agreement, &times, (self.copy_gb_s, self.bandwidth)));
        Ok(())
    }
}

fn judge(
    kernel: &'static str,
    bytes: usize,
    agreement: Agreement,
    sorted_ms: &[f64],
    (copy_gb_s, bandwidth): (f64, Option<f64>),
) -> DeviceKernelTimes {
    let best_ms = quantile(sorted_ms, 0.0);
    let gb_s = bytes as f64 / best_ms / 1e6;
    DeviceKernelTimes {
        kernel,
        agrees: agreement.holds(),
        difference: agreement.difference,
        tolerance: agreement.tolerance,
        bytes,
        best_ms,
        median_ms: quantile(sorted_ms, 0.5),
        gb_s,
        of_copy: gb_s / copy_gb_s,
        times_floor: bandwidth.map(|bandwidth| best_ms * bandwidth / (bytes as f64 * 1e3)),
    }
}

/// Milliseconds of a launch in each turn, sorted.
fn times(
    stream: &Arc<CudaStream>,
    turns: usize,
    mut launch: impl FnMut() -> Result<(), CudaError>,
) -> Result<Vec<f64>, CudaError> {
    launch()?;
    let mut turn = || -> Result<f64, CudaError> {
        let begin = stream.record_event(Some(CU_EVENT_DEFAULT))?;
        for _ in 0..LAUNCHES {
            launch()?;
        }
        let end = stream.record_event(Some(CU_EVENT_DEFAULT))?;
        Ok(f64::from(begin.elapsed_ms(&end)?) / f64::from(LAUNCHES))
    };
    let mut times = (0..turns.max(1)).map(|_| turn()).collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Bandwidth of a plain copy on the GPU, GB/s.
fn copy(stream: &Arc<CudaStream>, sizes: &DeviceBench) -> Result<f64, CudaError> {
    let from = stream.alloc_zeros::<f32>(sizes.parameters)?;
    let mut to = stream.alloc_zeros::<f32>(sizes.parameters)?;
    let times = times(stream, sizes.turns, || Ok(stream.memcpy_dtod(&from, &mut to)?))?;
    Ok(2.0 * bytes_of::<f32>(sizes.parameters) as f64 / quantile(&times, 0.0) / 1e6)
}

/// Bytes of `count` numbers.
fn bytes_of<T>(count: usize) -> usize {
    count * size_of::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: DeviceBench = DeviceBench { parameters: 10_000, taught: 7_001, cells: 33, genes: 500, turns: 2 };

    #[test]
    fn bandwidth_is_bytes_over_the_best_turn_and_the_floor_is_what_memory_could_do() {
        // 6 GB in 2 ms are 3000 GB/s; memory of 4 TB/s would take 1.5 ms.
        let times = judge("update", 6_000_000_000, Agreement::exact(), &[2.0, 3.0, 5.0], (2500.0, Some(4e12)));
        assert_eq!((times.best_ms, times.median_ms, times.gb_s, times.of_copy), (2.0, 3.0, 3000.0, 1.2));
        assert!(times.times_floor.is_some_and(|ratio| (ratio - 2.0 / 1.5).abs() < 1e-12));
    }

    #[test]
    fn kernels_agree_where_there_is_a_gpu_and_a_machine_without_one_says_so() {
        match measure(&SMALL) {
            Ok(report) => {
                assert!(report.passed, "{report:?}");
                assert_eq!(report.kernels.len(), 10);
            }
            Err(CudaError::NoDriver | CudaError::NoCompiler | CudaError::Driver(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
