//! The heartbeat's packet: 52 bytes, little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 0–3 | `SYHB` |
//! | 4 | version, 1 |
//! | 5 | phase: its place in [`Phase::ALL`] |
//! | 6 | kind of operation `entered`: 0 or its place in [`Operation::ALL`] from 1 |
//! | 7 | standing: its place in [`Standing::ALL`] |
//! | 8–15 | token of the run |
//! | 16–19 | rank |
//! | 20–27 | number of the packet, rising |
//! | 28–35 | step |
//! | 36–43 | largest number of an operation entered |
//! | 44–51 | all operations to this number completed |
//!
//! Guarantee: what is not the encoding of a packet of this run is not decoded.

use super::progress::{Operation, Phase, Progress, Standing};

/// Bytes of a packet.
pub(super) const LEN: usize = 52;
const MAGIC: [u8; 4] = *b"SYHB";
const VERSION: u8 = 1;

/// What a rank says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) rank: u32,
    /// Rises with every packet of a rank: the network may reorder and repeat them.
    pub(super) serial: u64,
    pub(super) progress: Progress,
}

impl Packet {
    /// The packet's bytes for a run.
    pub(super) fn encode(&self, token: u64) -> [u8; LEN] {
        let Progress { step, phase, entered, completed, operation, standing } = self.progress;
        let operation = operation.map_or(0, |operation| operation as u8 + 1);
        let mut bytes = [0; LEN];
        let fields: [&[u8]; 8] = [
            &MAGIC,
            &[VERSION, phase as u8, operation, standing as u8],
            &token.to_le_bytes(),
            &self.rank.to_le_bytes(),
            &self.serial.to_le_bytes(),
            &step.to_le_bytes(),
            &entered.to_le_bytes(),
            &completed.to_le_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// The packet of a run, or nothing when the bytes are none.
    pub(super) fn decode(bytes: &[u8], token: u64) -> Option<Self> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes[..4] != MAGIC || bytes[4] != VERSION || long(8)? != token {
            return None;
        }
        let phase = *Phase::ALL.get(usize::from(bytes[5]))?;
        let operation = match usize::from(bytes[6]) {
            0 => None,
            place => Some(*Operation::ALL.get(place - 1)?),
        };
        let standing = *Standing::ALL.get(usize::from(bytes[7]))?;
        let rank = u32::from_le_bytes(bytes[16..20].try_into().ok()?);
        let (serial, step, entered, completed) = (long(20)?, long(28)?, long(36)?, long(44)?);
        let progress = Progress { step, phase, entered, completed, operation, standing };
        (completed <= entered).then_some(Self { rank, serial, progress })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets() -> impl Strategy<Value = Packet> {
        let kinds = (0..Phase::ALL.len(), prop::option::of(0..Operation::ALL.len()), 0..Standing::ALL.len());
        (any::<u32>(), any::<u64>(), any::<u64>(), any::<(u64, u64)>(), kinds).prop_map(
            |(rank, serial, step, (a, b), (phase, operation, standing))| {
                let (phase, operation) = (Phase::ALL[phase], operation.map(|at| Operation::ALL[at]));
                let standing = Standing::ALL[standing];
                let (completed, entered) = (a.min(b), a.max(b));
                Packet { rank, serial, progress: Progress { step, phase, entered, completed, operation, standing } }
            },
        )
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let progress = Progress {
            step: 17,
            phase: Phase::Backward,
            entered: 0x0102,
            completed: 0x0101,
            operation: Some(Operation::Broadcast),
            standing: Standing::Ended,
        };
        let bytes = Packet { rank: 3, serial: 9, progress }.encode(0x1122_3344_5566_7788);
        assert_eq!(bytes[..20], *b"SYHB\x01\x03\x04\x02\x88\x77\x66\x55\x44\x33\x22\x11\x03\0\0\0");
        assert_eq!(bytes[20..36], *b"\x09\0\0\0\0\0\0\0\x11\0\0\0\0\0\0\0");
        assert_eq!(bytes[36..], *b"\x02\x01\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0");
    }

    proptest! {
        #[test]
        fn a_packet_survives_the_wire(packet in packets(), token: u64) {
            prop_assert_eq!(Packet::decode(&packet.encode(token), token), Some(packet));
        }

        #[test]
        fn packets_of_other_runs_and_of_other_lengths_are_ignored(packet in packets(), tokens: (u64, u64), len in 0..200_usize) {
            let mut bytes = packet.encode(tokens.0).to_vec();
            if tokens.0 != tokens.1 {
                prop_assert_eq!(Packet::decode(&bytes, tokens.1), None);
            }
            bytes.resize(len, 0);
            prop_assert_eq!(Packet::decode(&bytes, tokens.0).is_some(), len == LEN);
        }

        /// Random bytes rarely get past the magic word, so a valid packet is damaged as well.
        #[test]
        fn only_encodings_are_decoded(
            packet in packets(),
            token: u64,
            damage in prop::collection::vec((0..LEN, any::<u8>()), 0..6),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = packet.encode(token).to_vec();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            for bytes in [bytes, noise] {
                if let Some(decoded) = Packet::decode(&bytes, token) {
                    prop_assert_eq!(decoded.encode(token).to_vec(), bytes);
                }
            }
        }
    }
}
