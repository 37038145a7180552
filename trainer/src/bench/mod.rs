//! Measurements of the engine's parts, on data of their own.
//!
//! Guarantee: what is timed is what training runs: the same step, the same collectives, the same kernels.

pub mod allreduce;
pub mod checkpoint;
pub mod device_kernels;
pub mod kernels;
pub mod step;

/// The value below which a share `p` of the sorted numbers lies, with linear interpolation; NaN of none.
pub(crate) fn quantile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = p * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}
