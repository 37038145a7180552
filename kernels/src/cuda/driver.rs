//! The NVIDIA driver and its GPUs.
//!
//! Guarantee: looking makes nothing on a GPU, and where there is no driver that is an error, never a panic.

use std::ffi::{c_char, c_int};

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{result, sys};

use crate::cuda::CudaError;

/// The driver.
#[derive(Clone, Debug, PartialEq)]
pub struct Driver {
    /// Newest CUDA release that it runs: major and minor.
    pub cuda: (i32, i32),
    /// Its GPUs that this process may see.
    pub gpus: Vec<Gpu>,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Name, e.g. `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// What tells it from all other GPUs, on any machine.
    pub uuid: [u8; 16],
    /// Bytes of its memory.
    pub memory_bytes: usize,
    /// Compute capability: major and minor.
    pub capability: (i32, i32),
    /// What its memory can carry at most, bytes a second; none where the driver does not tell its clock.
    pub bandwidth: Option<f64>,
}

/// Asks the driver what there is.
///
/// # Errors
/// When there is no driver, or it finds no GPU.
pub fn driver() -> Result<Driver, CudaError> {
    if !has_driver() {
        return Err(CudaError::NoDriver);
    }
    result::init()?;
    let mut version: c_int = 0;
    // SAFETY: the number is valid for writes.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    let count = result::device::get_count()?;
    let gpus = (0..count).map(gpu).collect::<Result<_, _>>()?;
    // 1000 times the major release and 10 times the minor one (CUDA Driver API, "cuDriverGetVersion").
    Ok(Driver { cuda: (version / 1000, version % 1000 / 10), gpus })
}

/// Whether NVIDIA's driver library can be opened. Asked first, since its bindings panic where it is missing.
pub(super) fn has_driver() -> bool {
    // SAFETY: opens NVIDIA's library, whose initialisers have no demands.
    unsafe { sys::is_culib_present() }
}

fn gpu(ordinal: c_int) -> Result<Gpu, CudaError> {
    let device = result::device::get(ordinal)?;
    // SAFETY: the device was just given out by the driver.
    let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    let capability = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let clock = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE).unwrap_or(0);
    let bus = attribute(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH).unwrap_or(0);
    Ok(Gpu {
        name: result::device::get_name(device)?,
        uuid: result::device::get_uuid(device)?.bytes.map(c_char::cast_unsigned),
        // SAFETY: as above.
        memory_bytes: unsafe { result::device::total_mem(device) }?,
        capability,
        bandwidth: bandwidth(clock, bus),
    })
}

/// Two transfers a clock on a bus of `bus_bits` (CUDA C++ Best Practices Guide, "Theoretical Bandwidth Calculation").
fn bandwidth(clock_khz: i32, bus_bits: i32) -> Option<f64> {
    (clock_khz > 0 && bus_bits > 0).then(|| 2.0 * f64::from(clock_khz) * 1e3 * f64::from(bus_bits) / 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_h100_carries_three_terabytes_a_second_and_an_unknown_clock_nothing() {
        // NVIDIA's data sheet: 2619 MHz, 5120 bits, 3.35 TB/s.
        assert_eq!(bandwidth(2_619_000, 5120), Some(3.352_32e12));
        assert_eq!((bandwidth(0, 5120), bandwidth(2_619_000, 0)), (None, None));
    }

    #[test]
    fn a_machine_without_a_driver_says_so_and_one_with_a_driver_names_its_gpus() {
        match driver() {
            Err(CudaError::NoDriver) => assert!(!has_driver()),
            Err(error) => assert!(has_driver(), "{error}"),
            Ok(driver) => assert!(driver.gpus.iter().all(|gpu| !gpu.name.is_empty() && gpu.memory_bytes > 0)),
        }
    }
}
