//! Processor and memory.

use super::finding::Finding;
use crate::process::launch::machine_cores;

/// Instruction sets that the kernels choose between.
const INSTRUCTION_SETS: [(&str, &str); 4] =
    [("avx2", "AVX2"), ("fma", "FMA"), ("avx512f", "AVX-512"), ("avx512_bf16", "AVX-512 BF16")];

/// Model, cores, instruction sets.
pub(crate) fn processor() -> Finding {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&text, "model name").unwrap_or("unknown model");
    let flags: Vec<&str> = field(&text, "flags").unwrap_or_default().split_whitespace().collect();
    let sets: Vec<&str> =
        INSTRUCTION_SETS.iter().filter(|(flag, _)| flags.contains(flag)).map(|(_, name)| *name).collect();
    let listed = if sets.is_empty() { "no vector extensions".to_owned() } else { sets.join(", ") };
    let cores = machine_cores();
    Finding::found("cpu", format!("{model}, {cores} cores, {listed}"))
        .with("model", model)
        .with("cores", cores)
        .with("instruction_sets", sets)
}

/// Installed and free memory.
pub(crate) fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |key| field(&text, key).and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    let (total, available) = (kib("MemTotal").unwrap_or(0) * 1024, kib("MemAvailable").unwrap_or(0) * 1024);
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    Finding::found("memory", format!("{:.1} GiB, {:.1} GiB free", gib(total), gib(available)))
        .with("total_bytes", total)
        .with("available_bytes", available)
}

/// The value of the first line `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "cpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(field(text, "model name"), Some("Some CPU @ 2 GHz"));
        assert_eq!(field(text, "model"), Some("85"));
        assert_eq!(field(text, "flags"), None);
    }
}
