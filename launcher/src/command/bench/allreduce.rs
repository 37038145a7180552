//! `syncyte bench allreduce`: time of an all-reduce by size.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use syncyte_trainer::bench::allreduce;

use crate::answer::Answer;
use crate::process::world::on_all_ranks;

/// Arguments of `syncyte bench allreduce`.
#[derive(Args)]
#[command(after_help = "Example:\n  syncyte launch -n 2 -- syncyte bench allreduce --json")]
pub(crate) struct Arguments {
    /// Sizes of the buffers, KiB
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024, 4096, 16_384, 65_536])]
    kib: Vec<usize>,
    /// Turns of each size
    #[arg(long, default_value_t = 50)]
    turns: usize,
}

/// Measures all-reduces on all ranks.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer> {
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
