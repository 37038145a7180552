//! Model FLOPs utilisation: what a step must compute over what the devices could.
//!
//! Model FLOPs are those of matrix products and of attention (2 a multiply-add), as in `PaLM` (Chowdhery et al. 2022,
//! appendix B): what is trained counts three times its forward pass (one forward, two backward), the teacher its
//! forward pass alone. What the method does not need is not counted, such as recomputation or the loss's statistics.
//! Where a device's peak is not known there is no utilisation, rather than a guess.

/// Sizes of the encoder E1: dense layers to tokens, then transformer blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderSizes {
    /// Genes of a cell.
    pub genes: u64,
    /// Widths of the dense layers in front of the tokens.
    pub hidden: Vec<u64>,
    /// Tokens of a cell, `T`.
    pub tokens: u64,
    /// Width of a token, `d`.
    pub width: u64,
    /// Transformer blocks.
    pub depth: u64,
}

/// Sizes of a predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictorSizes {
    /// Layers of a cross-attention and a self-attention block each, on tokens.
    R2 {
        /// Layers.
        depth: u64,
    },
    /// Two dense layers and a last one, on the pooled embedding.
    R3 {
        /// Width of the layers.
        hidden: u64,
    },
}

/// Sizes of the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionSizes {
    /// Condition tokens of a cell that are computed, padding included.
    pub tokens: u64,
    /// Width of a condition token and of the perturbation vector.
    pub width: u64,
    /// Inputs of the dense perturbation encoder P2 (targets and metadata); 0 for the table P1.
    pub inputs: u64,
}

/// Sizes of the whole model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSizes {
    /// Encoder, of the student and of the teacher.
    pub encoder: EncoderSizes,
    /// Perturbation encoder.
    pub condition: ConditionSizes,
    /// Predictor.
    pub predictor: PredictorSizes,
    /// Whether the predictor has the residual wrapper R7.
    pub residual: bool,
}

impl EncoderSizes {
    /// Multiply-adds of the forward pass of a cell.
    pub fn forward_macs(&self) -> u64 {
        let mut inputs = self.genes;
        let mut dense = 0;
        for &outputs in self.hidden.iter().chain([&(self.tokens * self.width)]) {
            dense += inputs * outputs;
            inputs = outputs;
        }
        dense + self.depth * block_macs(self.tokens, self.width)
    }
}

impl ModelSizes {
    /// Multiply-adds of the forward pass of perturbation encoder and predictor, for a cell.
    pub fn predictor_macs(&self) -> u64 {
        let EncoderSizes { tokens, width, .. } = self.encoder;
        let ConditionSizes { tokens: keys, width: condition, inputs } = self.condition;
        let perturbation = if inputs == 0 { 0 } else { (inputs + condition) * condition };
        let (body, rows) = match self.predictor {
            PredictorSizes::R2 { depth } => {
                let layer = cross_block_macs(tokens, keys, width) + block_macs(tokens, width);
                (keys * condition * width + depth * layer, tokens)
            }
            PredictorSizes::R3 { hidden } => ((width + condition + hidden + width) * hidden, 1),
        };
        let residual = if self.residual { rows * width * width } else { 0 };
        perturbation + body + residual
    }

    /// Model FLOPs of a training step for each pair of a student's and a teacher's cell. A frozen encoder is run
    /// forward alone, as the teacher is.
    pub fn flops_per_pair(&self, frozen_encoder: bool) -> u64 {
        let encoder = self.encoder.forward_macs();
        let context = if frozen_encoder { encoder } else { 3 * encoder };
        2 * (context + 3 * self.predictor_macs() + encoder)
    }
}

/// A pre-norm block on `tokens` of `width`: 12 d² a token in its linear maps, 2 T² d in attention.
fn block_macs(tokens: u64, width: u64) -> u64 {
    12 * tokens * width * width + 2 * tokens * tokens * width
}

/// A cross-attention block: queries, output and MLP of each token (10 d²), keys and values of each condition token
/// (2 d²), attention of tokens to condition tokens.
fn cross_block_macs(tokens: u64, keys: u64, width: u64) -> u64 {
    (10 * tokens + 2 * keys) * width * width + 2 * tokens * keys * width
}

/// Share of the devices' peak that the model FLOPs of a run take, normally in (0, 1].
///
/// `pairs_per_s` is over all ranks (the global batch over the time of a step), `peak` the FLOP/s of one device.
pub fn utilisation(flops_per_pair: u64, pairs_per_s: f64, ranks: usize, peak: f64) -> f64 {
    flops_per_pair as f64 * pairs_per_s / (ranks as f64 * peak)
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

    fn sizes() -> ModelSizes {
        ModelSizes {
            encoder: EncoderSizes { genes: 5_000, hidden: vec![2048, 1024], tokens: 64, width: 256, depth: 4 },
            condition: ConditionSizes { tokens: 2, width: 128, inputs: 0 },
            predictor: PredictorSizes::R2 { depth: 4 },
            residual: false,
        }
    }

    #[test]
    fn the_encoder_has_the_multiply_adds_worked_out_by_hand() {
        // Dense: 5000·2048 = 10 240 000; 2048·1024 = 2 097 152; 1024·64·256 = 16 777 216; together 29 114 368.
        // A block: qkv 64·3·256² = 12 582 912; out 64·256² = 4 194 304; MLP 64·8·256² = 33 554 432;
        // scores and mixture 2·64²·256 = 2 097 152; together 52 428 800, four times.
        assert_eq!(sizes().encoder.forward_macs(), 29_114_368 + 4 * 52_428_800);
        assert_eq!(sizes().encoder.forward_macs(), 238_829_568);
    }

    #[test]
    fn a_pair_of_cells_costs_what_the_hand_calculation_says() {
        // Condition: 2·128·256 = 65 536. Cross block: q and out 2·64·256² = 8 388 608; kv 2·2·256² = 262 144;
        // MLP 33 554 432; scores and mixture 2·64·2·256 = 65 536; together 42 270 720. With a block, four times.
        assert_eq!(sizes().predictor_macs(), 65_536 + 4 * (42_270_720 + 52_428_800));
        assert_eq!(sizes().predictor_macs(), 378_863_616);
        // 2·(3·(238 829 568 + 378 863 616) + 238 829 568)
        assert_eq!(sizes().flops_per_pair(false), 4_183_818_240);
        // The estimate of the design: 635 M multiply-adds forward of the student, 231 M of the teacher.
        let estimate = 2.0 * (635e6 * 3.0 + 231e6);
        assert!((sizes().flops_per_pair(false) as f64 / estimate - 1.0).abs() < 0.03);
    }

    #[test]
    fn without_attention_it_is_six_flops_a_weight_and_token() {
        // 6·P·tokens with P = 12·d² weights a block; the difference is the 12·L·d·T² of attention.
        let mut wide = sizes();
        (wide.encoder.hidden, wide.encoder.genes) = (vec![], 0);
        let linear = 6 * 4 * (12 * 256 * 256) * 64;
        let attention = 12 * 4 * 256 * 64 * 64;
        assert_eq!(6 * wide.encoder.forward_macs(), linear + attention);
    }

    #[test]
    fn a_frozen_encoder_saves_its_backward_pass() {
        let saved = sizes().flops_per_pair(false) - sizes().flops_per_pair(true);
        assert_eq!(saved, 2 * 2 * 238_829_568);
    }

    #[test]
    fn the_mlp_predictor_counts_each_of_its_weights_once() {
        let pooled = ModelSizes { predictor: PredictorSizes::R3 { hidden: 512 }, ..sizes() };
        // (256 + 128)·512 + 512·512 + 512·256: the 593 152 parameters less 3 328 of biases and norms.
        assert_eq!(pooled.predictor_macs(), 589_824);
        let residual = ModelSizes { residual: true, ..pooled };
        assert_eq!(residual.predictor_macs(), 589_824 + 256 * 256);
        let tokens = ModelSizes { residual: true, ..sizes() };
        assert_eq!(tokens.predictor_macs(), 378_863_616 + 64 * 256 * 256);
    }

    #[test]
    fn the_dense_perturbation_encoder_counts_and_the_table_does_not() {
        let condition = ConditionSizes { tokens: 3, width: 128, inputs: 20_010 };
        let dense = ModelSizes { condition, ..sizes() };
        let table = ModelSizes { condition: ConditionSizes { inputs: 0, ..condition }, ..sizes() };
        // 20 010·128 + 128·128
        assert_eq!(dense.predictor_macs() - table.predictor_macs(), 2_577_664);
        // One condition token more: 128·256, and in four layers 2·256² + 2·64·256.
        assert_eq!(table.predictor_macs() - sizes().predictor_macs(), 32_768 + 4 * (131_072 + 32_768));
    }

    #[test]
    fn utilisation_is_the_rate_over_the_peak_of_all_ranks() {
        // 4.18 GFLOP × 100 000 pairs a second on two H100: 418 of 1978 TFLOP/s.
        let found = utilisation(sizes().flops_per_pair(false), 1e5, 2, 989e12);
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
