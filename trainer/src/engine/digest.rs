//! Hashes of a training state: a SHA-256 that names it, and a fast one by which ranks compare theirs.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

use super::{EngineError, FlatState};
use crate::shim::flat;
use syncyte_fabric::collective::Collective;
use syncyte_fabric::hash::hex;

// Buffers are hashed and written as they lie in memory, and both are little-endian by definition.
const _: () = assert!(cfg!(target_endian = "little"), "parameters are kept in little-endian order");

/// Elements that are hashed as one block, 1 MiB: the blocks of a buffer are hashed by several threads.
const BLOCK: usize = 1 << 18;

/// SHA-256 over the bits of values.
pub fn digest_of(values: &[f32]) -> [u8; 32] {
    Sha256::digest(bytemuck::cast_slice(values)).into()
}

/// The name of a state: SHA-256 over the digests of its parameters and of its teacher, where there is one. The two can
/// be computed apart, on different ranks.
pub fn joint_digest(digests: impl IntoIterator<Item = [u8; 32]>) -> String {
    let mut joint = Sha256::new();
    for digest in digests {
        joint.update(digest);
    }
    hex(&joint.finalize())
}

impl FlatState {
    /// [`joint_digest`] of parameters and teacher.
    ///
    /// # Errors
    /// When a buffer is not flat.
    pub fn parameter_hash(&self) -> Result<String, EngineError> {
        let sets = std::iter::once(&self.params).chain(&self.teacher);
        let digests = sets.map(|set| Ok(digest_of(flat(&set.on_host())?))).collect::<Result<Vec<_>, EngineError>>()?;
        Ok(joint_digest(digests))
    }

    /// XXH3 (64 bits) over the bits of parameters and teacher, at the speed of memory. It tells states apart that
    /// differ by accident; [`FlatState::parameter_hash`] is the one to write down.
    ///
    /// # Errors
    /// When a buffer is not flat.
    pub fn fast_hash(&self) -> Result<u64, EngineError> {
        let mut blocks: Vec<u64> = Vec::new();
        for set in std::iter::once(&self.params).chain(&self.teacher) {
            let hash = |block: &[f32]| XxHash3_64::oneshot(bytemuck::cast_slice(block));
            blocks.par_extend(flat(&set.on_host())?.par_chunks(BLOCK).map(hash));
        }
        Ok(XxHash3_64::oneshot(bytemuck::cast_slice(&blocks)))
    }

    /// Checks that every rank holds the same bits.
    ///
    /// # Errors
    /// When the exchange fails.
    pub fn ranks_agree(&self, collective: &dyn Collective) -> Result<bool, EngineError> {
        let hashes = collective.all_gather_text(&format!("{:016x}", self.fast_hash()?))?;
        Ok(hashes.windows(2).all(|pair| pair[0] == pair[1]))
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::engine::StateOptions;
    use crate::params::{Group, Init, Registry};
    use syncyte_fabric::collective::Solo;

    const ENCODER: Group = Group::averaged("encoder");
    const HEAD: Group = Group::new("head");

    fn state() -> FlatState {
        let mut registry = Registry::default();
        registry.weight(ENCODER, "encoder.w".into(), &[600, 700], Init::TruncatedNormal(0.02));
        registry.plain(HEAD, "head.b".into(), &[3], Init::Ones);
        let layout = registry.layout();
        FlatState::new(&layout, 1, StateOptions::default(), &Solo).unwrap()
    }

    fn flip(tensor: &Tensor, element: i64) {
        let mut value = tensor.narrow(0, element, 1);
        // The smallest change there is.
        let changed = f32::from_bits((value.double_value(&[0]) as f32).to_bits() ^ 1);
        let _ = tch::no_grad(|| value.fill_(f64::from(changed)));
    }

    #[test]
    fn one_bit_anywhere_changes_both_hashes_and_the_same_bits_give_the_same() {
        let same = state();
        let hashes = |state: &FlatState| (state.fast_hash().unwrap(), state.parameter_hash().unwrap());
        assert_eq!(hashes(&state()), hashes(&same));
        // The first block, the last element of the encoder, which a second block holds, and the rest.
        for element in [0, 419_999, same.params.layout().averaged_len() as i64] {
            let other = state();
            flip(other.params.flat(), element);
            assert_ne!(hashes(&other).0, hashes(&same).0, "element {element}");
            assert_ne!(hashes(&other).1, hashes(&same).1, "element {element}");
        }
        let other = state();
        flip(other.teacher.as_ref().unwrap().flat(), 7);
        assert_ne!(hashes(&other).0, hashes(&same).0);
        assert_ne!(hashes(&other).1, hashes(&same).1);
    }

    #[test]
    fn digests_are_those_of_the_little_endian_bytes() {
        // printf '\x00\x00\x80\x3f\x00\x00\x00\xc0' | sha256sum
        let digest = digest_of(&[1.0, -2.0]);
        assert_eq!(hex(&digest), "ee4ac73c2bd27756ab82780f27c73a7bc4d3f0bb6acb37e008bc27eccd7e588b");
        // printf DIGEST | xxd -r -p | sha256sum
        assert_eq!(joint_digest([digest]), "385783b0d7686e097cf7eeb32a3fd5960d3b216023e9f199c228095accc4f3c9");
    }
}
