//! `syncyte bench kernels`: the numeric loops of a step, on one thread or on a GPU.

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use syncyte_trainer::bench::device_kernels::{self, DeviceBench, DeviceKernelReport, DeviceKernelTimes};
use syncyte_trainer::bench::kernels;

use crate::answer::Answer;
use crate::exit::{Exit, usage};

const NO_GPU: &str = "--device cuda needs an NVIDIA GPU with its driver and NVRTC, the compiler of CUDA kernels; \
    `syncyte doctor` shows which is missing and how to get it, --device cpu measures without";

/// Where the loops run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Device {
    /// One thread of the processor
    Cpu,
    /// The first NVIDIA GPU
    Cuda,
}

/// Arguments of `syncyte bench kernels`.
#[derive(Args)]
#[command(after_help = "Examples:\n  syncyte bench kernels --parameters 38700000\n  \
    syncyte bench kernels --device cuda --json\n\n\
    On a GPU every kernel is compared with the CPU first; where one differs by more than it promises, the exit code is 4.")]
pub(crate) struct Arguments {
    /// Where they run
    #[arg(long, value_enum, default_value = "cpu")]
    device: Device,
    /// Numbers of the state
    #[arg(long, default_value_t = 38_700_032)]
    parameters: usize,
    /// Numbers that have a teacher
    #[arg(long, default_value_t = 32_315_904)]
    taught: usize,
    /// Cells that are made dense, on a GPU; so many that they do not fit into its cache
    #[arg(long, default_value_t = 4096)]
    cells: usize,
    /// Genes of a cell, on a GPU
    #[arg(long, default_value_t = 5000)]
    genes: usize,
    /// Turns
    #[arg(long, default_value_t = 20)]
    turns: usize,
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
    if arguments.taught > arguments.parameters {
        return Err(usage("--taught is above --parameters"));
    }
    match arguments.device {
        Device::Cpu => on_cpu(arguments),
        Device::Cuda => on_gpu(arguments),
    }
}

fn on_cpu(arguments: &Arguments) -> Result<Answer> {
    let times = kernels::measure(arguments.parameters, arguments.taught, arguments.turns);
    let text = format!(
        "{} parameters, {} of them with a teacher, one thread\ncopy    {:6.1} GB/s\nupdate  {:6.1} GB/s  {:.1} ms ({:.0} % \
         of the copy)\nupdate with bf16 copies  {:.1} ms\nnorm    {:.1} ms",
        times.parameters,
        times.taught,
        times.copy_gb_s,
        times.update_gb_s,
        times.update_ms,
        100.0 * times.update_gb_s / times.copy_gb_s,
        times.update_shadows_ms,
        times.norm_ms
    );
    Ok(Answer::new(text, serde_json::to_value(times)?))
}

fn on_gpu(arguments: &Arguments) -> Result<Answer> {
    let &Arguments { parameters, taught, cells, genes, turns, .. } = arguments;
    if taught == 0 || cells == 0 || genes == 0 || genes > 1 << 16 {
        return Err(usage("--taught, --cells and --genes must be at least 1, and --genes at most 65536"));
    }
    let report = device_kernels::measure(&DeviceBench { parameters, taught, cells, genes, turns }).context(NO_GPU)?;
    let answer = Answer::new(text(&report), serde_json::to_value(&report)?);
    Ok(if report.passed { answer } else { answer.ending(Exit::Failed) })
}

fn text(report: &DeviceKernelReport) -> String {
    let memory = report.memory_gb_s.map_or_else(String::new, |gb_s| format!(", memory of {gb_s:.0} GB/s"));
    let mut lines = vec![
        format!("{}{memory}, a copy: {:.0} GB/s", report.device, report.copy_gb_s),
        format!(
            "{} parameters, {} of them with a teacher; {} cells of {} genes",
            report.parameters, report.taught, report.cells, report.genes
        ),
    ];
    lines.extend(report.kernels.iter().map(line));
    lines.join("\n")
}

fn line(kernel: &DeviceKernelTimes) -> String {
    let agreement = match (kernel.agrees, kernel.tolerance == 0.0) {
        (true, true) => "bits of the CPU".to_owned(),
        (true, false) => format!("within {:.0e} of the CPU", kernel.tolerance),
        (false, _) => format!("DIFFERS from the CPU by {:.2e}, allowed {:.0e}", kernel.difference, kernel.tolerance),
    };
    let floor = kernel.times_floor.map_or_else(String::new, |ratio| format!(", {ratio:.2} of the floor"));
    format!(
        "{:<20} best {:8.3} ms  median {:8.3} ms  {:7.0} GB/s  ({:.0} % of the copy{floor})  {agreement}",
        kernel.kernel,
        kernel.best_ms,
        kernel.median_ms,
        kernel.gb_s,
        100.0 * kernel.of_copy
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_differs_is_named_with_its_difference() {
        let mut kernel = DeviceKernelTimes {
            kernel: "to_f32",
            agrees: true,
            difference: 0.0,
            tolerance: 0.0,
            bytes: 6,
            best_ms: 0.1,
            median_ms: 0.2,
            gb_s: 3.0,
            of_copy: 0.5,
            times_floor: Some(1.25),
        };
        assert!(line(&kernel).ends_with("(50 % of the copy, 1.25 of the floor)  bits of the CPU"), "{}", line(&kernel));
        (kernel.agrees, kernel.difference) = (false, 0.25);
        assert!(line(&kernel).ends_with("DIFFERS from the CPU by 2.50e-1, allowed 0e0"), "{}", line(&kernel));
    }
}
