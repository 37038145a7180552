//! Dropout whose mask is a pure function of (key of the row, layer, unit).
//!
//! Guarantee: a cell gets the same mask whichever rank, batch position or device computes it, so parallelism
//! and restarts change nothing. The masks come from a 32-bit integer mixer (the finaliser of MurmurHash3)
//! evaluated by tensor operations, so they are made on the device where they are used.

use tch::{Kind, Tensor};

const MASK32: i64 = 0xffff_ffff;

/// Keys of the cells of one forward pass.
#[derive(Debug)]
pub struct DropoutKeys<'a> {
    /// One i64 a cell, `[B]`: a hash of seed, step and cell.
    pub rows: &'a Tensor,
}

/// Zeroes each unit with probability `p` and scales the rest by `1 / (1 − p)`.
///
/// `x` is `[batch, units]`, `row_keys` `[batch]` of i64 (any bits), `layer` tells layers apart.
pub fn dropout(x: &Tensor, p: f64, row_keys: &Tensor, layer: i64) -> Tensor {
    if p <= 0.0 {
        return x.shallow_clone();
    }
    let units = Tensor::arange(x.size()[1], (Kind::Int64, x.device()));
    let mixed = mix(&(mix(&(row_keys + layer * 0x9e37_79b9)).unsqueeze(1) + mix(&(units + layer)).unsqueeze(0)));
    let threshold = (p * (MASK32 + 1) as f64) as i64;
    x * mixed.ge(threshold).to_kind(x.kind()) / (1.0 - p)
}

fn mix(x: &Tensor) -> Tensor {
    let mut h = x.bitwise_and(MASK32);
    for (shift, factor) in [(16, 0x85eb_ca6b_i64), (13, 0xc2b2_ae35)] {
        h = (h.bitwise_xor_tensor(&h.bitwise_right_shift_tensor_scalar(shift)) * factor).bitwise_and(MASK32);
    }
    h.bitwise_xor_tensor(&h.bitwise_right_shift_tensor_scalar(16))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn mask_follows_the_row_key_not_the_position_and_keeps_the_mean() {
        let x = Tensor::ones([64, 500], (Kind::Float, Device::Cpu));
        let keys = Tensor::arange(64, (Kind::Int64, Device::Cpu)) * 7919 - 5;
        let out = dropout(&x, 0.1, &keys, 3);
        let back = dropout(&x, 0.1, &keys.flip([0]), 3).flip([0]);
        assert_eq!(out, back);
        assert_ne!(out, dropout(&x, 0.1, &keys, 4));
        let dropped = out.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((dropped - 0.1).abs() < 0.01, "{dropped}");
        assert!((out.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.01);
    }
}
