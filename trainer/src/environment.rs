//! What a run ran on: machine, versions, ranks (`RUN/environment.json`).

use std::fs;

use serde_json::{Value, json};
use tch::Device;

use crate::cores;
use syncyte_fabric::collective::{Collective, CollectiveError};

/// Processor, cores and memory in one line, and the GPU where `device` is one.
pub fn hardware(device: Device) -> String {
    let cpu = first_field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = first_field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map_or_else(String::new, |kib| format!(", {} GiB memory", kib.div_ceil(1 << 20)));
    let accelerator = match device {
        Device::Cuda(_) => crate::device::describe(device),
        _ => "no accelerator used".to_owned(),
    };
    format!("{cpu}, {cores} cores{memory}, {accelerator}")
}

/// Everything that a reader needs to run it again.
pub fn describe(world: usize, git: &str, device: Device) -> Value {
    json!({
        "hardware": hardware(device),
        "os": fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| String::new(), |s| s.trim().to_owned()),
        "host": fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| String::new(), |s| s.trim().to_owned()),
        "ranks": world,
        "torch_threads": tch::get_num_threads(),
        "version": env!("CARGO_PKG_VERSION"),
        "git": git,
    })
}

fn first_field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Sets the threads of the tensor library and of our kernels; 0 takes what the rank may use ([`cores::share`]). All ranks
/// call it together.
///
/// # Errors
/// When the ranks cannot exchange what they may use.
pub fn set_threads(threads: usize, collective: &dyn Collective) -> Result<(), CollectiveError> {
    let share = cores::share(collective)?;
    let threads = if threads == 0 { share } else { threads };
    crate::shim::keep_freed_memory();
    tch::set_num_threads(threads as i32);
    tch::set_num_interop_threads(1);
    // Our own kernels use rayon's threads. The pool can be made only once; a second run in one process keeps it.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    Ok(())
}
