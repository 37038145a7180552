//! `syncyte bench allreduce` and `syncyte bench kernels`: parts of an optimizer step.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use syncyte_trainer::bench::{allreduce, kernels};

use crate::answer::Answer;
use crate::process::world::on_all_ranks;

/// Arguments of `syncyte bench allreduce`.
#[derive(Args)]
#[command(after_help = "Example:\n  syncyte launch -n 2 -- syncyte bench allreduce --json")]
pub(crate) struct AllReduceArguments {
    /// Sizes of the buffers, KiB
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024, 4096, 16_384, 65_536])]
    kib: Vec<usize>,
    /// Turns of each size
    #[arg(long, default_value_t = 50)]
    turns: usize,
}

/// Measures all-reduces on all ranks.
pub(crate) fn run_allreduce(arguments: &AllReduceArguments) -> Result<Answer> {
    on_all_ranks(|collective| {
        let sizes: Vec<usize> = arguments.kib.iter().map(|kib| kib << 10).collect();
        let times = allreduce::measure(&sizes, arguments.turns, collective)?;
        if collective.rank() > 0 {
            return Ok(Answer::silent());
        }
        let line = |time: &allreduce::AllReduceTimes| {
            format!(
                "{:>10} KiB  median {:>9.1} us  p95 {:>9.1} us  {:>6.2} GB/s  (a copy: {:.1} us)",
                time.bytes >> 10,
                time.median_us,
                time.p95_us,
                time.busbw_gb_s,
                time.copy_us
            )
        };
        let lines: Vec<String> = times.iter().map(line).collect();
        let text = format!("all-reduce of f32 on {} ranks\n{}", collective.size(), lines.join("\n"));
        Ok(Answer::new(text, json!({ "ranks": collective.size(), "sizes": times })))
    })
}

/// Arguments of `syncyte bench kernels`.
#[derive(Args)]
#[command(after_help = "Example:\n  syncyte bench kernels --parameters 38700000")]
pub(crate) struct KernelArguments {
    /// Numbers of the state
    #[arg(long, default_value_t = 38_700_032)]
    parameters: usize,
    /// Numbers that have a teacher
    #[arg(long, default_value_t = 32_315_904)]
    taught: usize,
    /// Turns; the best counts
    #[arg(long, default_value_t = 20)]
    turns: usize,
}

/// Measures the optimizer's passes on one thread.
pub(crate) fn run_kernels(arguments: &KernelArguments) -> Result<Answer> {
    if arguments.taught > arguments.parameters {
        return Err(crate::exit::usage("--taught is above --parameters"));
    }
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
