//! What can go wrong on the way to a GPU.

use cudarc::driver::DriverError;

use crate::rows::ShapeError;

/// Why a kernel did not run.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// There is no NVIDIA driver.
    #[error("no CUDA driver: libcuda.so is not on the library path")]
    NoDriver,
    /// There is no compiler for kernels.
    #[error("no CUDA compiler: libnvrtc.so.13 is not on the library path (LD_LIBRARY_PATH; wheel nvidia-cuda-nvrtc)")]
    NoCompiler,
    /// A source is wrong, or the compiler does not know the architecture.
    #[error("{source_name} does not compile for {arch}: {log}")]
    Compile {
        /// Name of the source.
        source_name: &'static str,
        /// Architecture it was compiled for.
        arch: String,
        /// What the compiler says.
        log: String,
    },
    /// The driver refused.
    #[error("CUDA driver: {0}")]
    Driver(#[from] DriverError),
    /// Slices do not fit together.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}
