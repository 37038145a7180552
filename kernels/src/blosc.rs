//! Blosc frames, decoded into memory that the caller owns.
//!
//! A thin, checked layer over the C library that zarrs links too. Guarantee: a frame is only handed to the C code
//! after its header was validated against the bytes there are and against the room for the result; a damaged frame is
//! an error. No function keeps state between calls, so all of them may run on many threads at once.
//!
//! The reference is zarrs' own codec, which the stores are tested against.

use std::ffi::{CStr, c_int, c_void};

use thiserror::Error;

/// Why a frame could not be decoded or made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BloscError {
    /// The header is no header of a Blosc frame of this many bytes.
    #[error("{bytes} bytes are no Blosc frame: the data are damaged or of another codec")]
    Header {
        /// Bytes given.
        bytes: usize,
    },
    /// The frame holds another number of bytes than it should.
    #[error("the Blosc frame holds {found} bytes where {expected} were expected")]
    Length {
        /// Bytes that it decodes to.
        found: usize,
        /// Bytes that were expected.
        expected: usize,
    },
    /// Items beyond the end of the frame were asked for.
    #[error("items {start}..{end} lie outside a Blosc frame of {items} items")]
    Range {
        /// First item asked for.
        start: usize,
        /// End of the items asked for.
        end: usize,
        /// Items there are.
        items: usize,
    },
    /// The library refused.
    #[error("Blosc gave up with code {code}: the data are damaged, or need a compressor that is not built in")]
    Library {
        /// Its return code.
        code: i32,
    },
}

/// The filter that runs before compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// None.
    No,
    /// Bytes of equal significance lie together.
    Byte,
    /// Bits of equal significance lie together: small counts shrink to a few planes.
    Bit,
}

const LZ4: &CStr = c"lz4";

/// Bytes that a frame decodes to.
///
/// # Errors
/// When `frame` is no Blosc frame.
pub fn decoded_bytes(frame: &[u8]) -> Result<usize, BloscError> {
    let mut bytes = 0;
    // SAFETY: pointer and length are those of one slice, and the function reads no further; it writes one usize.
    let code =
        unsafe { blosc_src::blosc_cbuffer_validate(frame.as_ptr().cast::<c_void>(), frame.len(), &raw mut bytes) };
    if code == 0 { Ok(bytes) } else { Err(BloscError::Header { bytes: frame.len() }) }
}

/// Decodes a whole frame into `out`, which it fills exactly.
///
/// # Errors
/// When `frame` is damaged or does not decode to `out.len()` bytes.
pub fn decode(frame: &[u8], out: &mut [u8]) -> Result<(), BloscError> {
    let (found, expected) = (decoded_bytes(frame)?, out.len());
    if found != expected {
        return Err(BloscError::Length { found, expected });
    }
    if expected == 0 {
        return Ok(());
    }
    // SAFETY: the header was validated against the slice; `out` has room for exactly what the header announces, and
    // the function writes no more than the size given. A `&mut` cannot overlap the frame.
    let code = unsafe {
        let (from, to) = (frame.as_ptr().cast::<c_void>(), out.as_mut_ptr().cast::<c_void>());
        blosc_src::blosc_decompress_ctx(from, to, expected, 1)
    };
    if usize::try_from(code) == Ok(expected) { Ok(()) } else { Err(BloscError::Library { code }) }
}

/// Decodes the items `start..` of a frame of items of `item_bytes` into `out`, which they fill exactly. Only the
/// blocks that hold them are decoded.
///
/// # Errors
/// When `frame` is damaged, has items of another size, or ends before.
pub fn decode_items(frame: &[u8], item_bytes: usize, start: usize, out: &mut [u8]) -> Result<(), BloscError> {
    let bytes = decoded_bytes(frame)?;
    let (mut type_bytes, mut flags) = (0_usize, 0);
    // SAFETY: `decoded_bytes` has made sure of a whole header, which is all that the function reads.
    unsafe { blosc_src::blosc_cbuffer_metainfo(frame.as_ptr().cast::<c_void>(), &raw mut type_bytes, &raw mut flags) };
    if item_bytes == 0 || !out.len().is_multiple_of(item_bytes) {
        return Err(BloscError::Length { found: item_bytes, expected: out.len() });
    }
    let (items, count) = (bytes / item_bytes, out.len() / item_bytes);
    if start.checked_add(count).is_none_or(|end| end > items) {
        return Err(BloscError::Range { start, end: start.saturating_add(count), items });
    }
    if type_bytes != item_bytes {
        // Written for items of another size (bytes, say): such a frame is only decoded whole.
        let mut whole = vec![0; bytes];
        decode(frame, &mut whole)?;
        out.copy_from_slice(&whole[start * item_bytes..][..out.len()]);
        return Ok(());
    }
    if count == 0 {
        return Ok(());
    }
    // SAFETY: the header was validated against the slice, the items lie within what it announces and are of the size
    // that it names, and `out` has room for exactly them. A `&mut` cannot overlap the frame.
    let code = unsafe {
        let (from, to) = (frame.as_ptr().cast::<c_void>(), out.as_mut_ptr().cast::<c_void>());
        blosc_src::blosc_getitem(from, start as c_int, count as c_int, to)
    };
    if usize::try_from(code) == Ok(out.len()) { Ok(()) } else { Err(BloscError::Library { code }) }
}

/// Appends a frame with `data`, items of `item_bytes`, compressed by LZ4 at `level` (0 to 9).
///
/// # Errors
/// When the library refuses, as for more than 2 GiB.
pub fn encode(
    data: &[u8],
    item_bytes: usize,
    shuffle: Shuffle,
    level: u8,
    frame: &mut Vec<u8>,
) -> Result<(), BloscError> {
    let start = frame.len();
    // A frame is never longer than this.
    frame.resize(start + data.len() + blosc_src::BLOSC_MAX_OVERHEAD as usize, 0);
    let room = &mut frame[start..];
    let shuffle = match shuffle {
        Shuffle::No => blosc_src::BLOSC_NOSHUFFLE,
        Shuffle::Byte => blosc_src::BLOSC_SHUFFLE,
        Shuffle::Bit => blosc_src::BLOSC_BITSHUFFLE,
    };
    // SAFETY: both pointers come with the lengths of their slices, which the function does not exceed, and the name
    // of the compressor ends with 0. A `&mut` cannot overlap the data.
    let code = unsafe {
        let (from, to) = (data.as_ptr().cast::<c_void>(), room.as_mut_ptr().cast::<c_void>());
        let level = c_int::from(level.min(9));
        let shuffle = shuffle as c_int;
        let (bytes, room) = (data.len(), room.len());
        blosc_src::blosc_compress_ctx(level, shuffle, item_bytes, bytes, from, to, room, LZ4.as_ptr(), 0, 1)
    };
    match usize::try_from(code) {
        Ok(written) if written > 0 => {
            frame.truncate(start + written);
            Ok(())
        }
        _ => {
            frame.truncate(start);
            Err(BloscError::Library { code })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BloscError, Shuffle, decode, decode_items, decoded_bytes, encode};

    fn shuffles() -> impl Strategy<Value = Shuffle> {
        prop_oneof![Just(Shuffle::No), Just(Shuffle::Byte), Just(Shuffle::Bit)]
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_whole_and_in_part(
            items in prop::collection::vec(0_u16..700, 0..20_000),
            shuffle in shuffles(), level in 0_u8..=9, from in 0_usize..20_000, length in 0_usize..20_000,
        ) {
            let data: Vec<u8> = items.iter().flat_map(|item| item.to_le_bytes()).collect();
            let mut frame = vec![7];
            encode(&data, 2, shuffle, level, &mut frame).unwrap();
            let frame = &frame[1..];
            prop_assert_eq!(decoded_bytes(frame), Ok(data.len()));
            let mut out = vec![1; data.len()];
            decode(frame, &mut out).unwrap();
            prop_assert_eq!(&out, &data);
            let from = from.min(items.len());
            let length = length.min(items.len() - from);
            let mut part = vec![1; 2 * length];
            decode_items(frame, 2, from, &mut part).unwrap();
            prop_assert_eq!(&part[..], &data[2 * from..2 * (from + length)]);
            // As bytes: another item size than the frame's.
            let mut bytes = vec![1; length];
            decode_items(frame, 1, from, &mut bytes).unwrap();
            prop_assert_eq!(&bytes[..], &data[from..from + length]);
        }

        #[test]
        fn a_damaged_frame_is_an_error_or_other_bytes_but_never_a_crash(
            at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400,
        ) {
            let data: Vec<u8> = (0..4000_u32).flat_map(|item| ((item % 7) as u16).to_le_bytes()).collect();
            let mut frame = Vec::new();
            encode(&data, 2, Shuffle::Byte, 5, &mut frame).unwrap();
            let last = frame.len() - 1;
            frame[at.min(last)] = byte;
            let mut out = vec![0; data.len()];
            let _ = decode(&frame, &mut out);
            let _ = decode_items(&frame, 2, 5, &mut out[..20]);
            prop_assert!(decode(&frame[..cut.min(last)], &mut out).is_err());
        }
    }

    #[test]
    fn lengths_and_ranges_that_do_not_fit_are_named() {
        let mut frame = Vec::new();
        encode(&[1, 2, 3, 4], 2, Shuffle::Byte, 5, &mut frame).unwrap();
        assert_eq!(decode(&frame, &mut [0; 3]), Err(BloscError::Length { found: 4, expected: 3 }));
        let beyond = decode_items(&frame, 2, 1, &mut [0; 4]);
        assert_eq!(beyond, Err(BloscError::Range { start: 1, end: 3, items: 2 }));
        assert_eq!(decode(b"no frame", &mut [0; 3]), Err(BloscError::Header { bytes: 8 }));
    }
}
