//! Model FLOPs utilisation: what a step must compute over what the devices could.
//!
//! Model FLOPs are those of matrix products and of attention (2 a multiply-add), as in `PaLM` (Chowdhery et al. 2022,
//! appendix B): what is trained counts three times its forward pass (one forward, two backward), the teacher its
//! forward pass alone. What the method does not need is not counted, such as recomputation or the loss's statistics.
//! Where a device's peak is not known there is no utilisation, rather than a guess.

/// Share of the devices' peak that the model FLOPs of a run take, normally in (0, 1].
///
/// `flops_per_s` is over all ranks (those of a step over its time), `peak` the FLOP/s of one device.
pub fn utilisation(flops_per_s: f64, ranks: usize, peak: f64) -> f64 {
    flops_per_s / (ranks as f64 * peak)
}

/// Peak FLOP/s of a device by its CUDA name, for dense bf16 products; `None` for a CPU or a device that is not known.
///
/// From NVIDIA's data sheets, without sparsity. A slice (MIG) of a device and its NVL forms have peaks of their own.
pub fn peak_flops(device: &str) -> Option<f64> {
    let device = device.to_ascii_uppercase();
    let words: Vec<&str> = device.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    let has = |word: &str| words.contains(&word);
    if has("MIG") || has("NVL") {
        return None;
    }
    let teraflops = if has("H100") && has("PCIE") {
        756.0
    } else if has("H100") && (has("HBM3") || has("SXM") || has("SXM5")) || has("H200") {
        989.0
    } else if has("A100") {
        312.0
    } else if has("B200") {
        2250.0
    } else {
        return None;
    };
    Some(teraflops * 1e12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utilisation_is_the_rate_over_the_peak_of_all_ranks() {
        // 4.18 GFLOP × 100 000 pairs a second on two H100: 418 of 1978 TFLOP/s.
        let found = utilisation(4_183_818_240.0 * 1e5, 2, 989e12);
        assert!((found - 0.211_517_605_6).abs() < 1e-9, "{found}");
    }

    #[test]
    fn peaks_are_those_of_known_devices_only() {
        let known = [
            ("NVIDIA H100 80GB HBM3", 989e12),
            ("NVIDIA H100 PCIe", 756e12),
            ("NVIDIA H200", 989e12),
            ("NVIDIA A100-SXM4-80GB", 312e12),
            ("NVIDIA A100 80GB PCIe", 312e12),
            ("A100-PCIE-40GB", 312e12),
            ("NVIDIA B200", 2250e12),
        ];
        for (name, peak) in known {
            assert_eq!(peak_flops(name), Some(peak), "{name}");
        }
        let unknown = [
            "",
            "CPU",
            "Intel(R) Xeon(R) Platinum 8480",
            "NVIDIA GeForce RTX 4090",
            "NVIDIA H100 NVL",
            "NVIDIA H200 NVL",
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "NVIDIA H100",
            "NVIDIA GH200 480GB",
            "NVIDIA GB200",
            "NVIDIA A1000",
            "NVIDIA A10",
        ];
        for name in unknown {
            assert_eq!(peak_flops(name), None, "{name}");
        }
    }
}
