//! Compression filters of HDF5 that its library does not have: those that Python's hdf5plugin writes.
//!
//! Guarantee: a chunk that is damaged is an error, never a crash, and memory is asked for before it is taken. Zstandard
//! (32015), Blosc (32001), LZ4 (32004) and Bitshuffle (32008) are decoded; nothing is ever encoded. A filter that is
//! not known is named before a byte is read.

use std::io::Read;

use hdf5::Dataset;
use syncyte_kernels::blosc;

use crate::anndata::zarr::room;

pub(super) const BLOSC: i32 = 32001;
pub(super) const LZ4: i32 = 32004;
pub(super) const BITSHUFFLE: i32 = 32008;
pub(super) const ZSTD: i32 = 32015;

/// Registered filters by number, to name one that is not read.
const NAMES: [(i32, &str); 15] = [
    (4, "szip"),
    (305, "lzo"),
    (307, "bzip2"),
    (BLOSC, "blosc"),
    (32002, "mafisc"),
    (32003, "snappy"),
    (LZ4, "lz4"),
    (BITSHUFFLE, "bitshuffle"),
    (32013, "zfp"),
    (ZSTD, "zstd"),
    (32017, "sz"),
    (32018, "fcidecomp"),
    (32024, "sz3"),
    (32026, "blosc2"),
    (32028, "sperr"),
];
/// No chunk of HDF5 is larger.
const LARGEST_CHUNK: u64 = u32::MAX as u64;
/// Bytes that Bitshuffle makes its blocks of where no size is given, and elements that they are multiples of.
const BITSHUFFLE_BLOCK: usize = 8192;
const BITSHUFFLE_UNIT: usize = 8;
const BITSHUFFLE_LEAST: usize = 128;

/// Makes sure that everything a dataset was compressed with can be undone; the filters of ours must have been registered.
pub(super) fn check(dataset: &Dataset) -> Result<(), String> {
    match dataset.filters().iter().find(|filter| !filter.is_available()) {
        Some(filter) => Err(unknown(filter.id())),
        None => Ok(()),
    }
}

/// Says of a filter that it is not read, and what to do.
fn unknown(id: i32) -> String {
    let name = NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| format!(", {name}")).unwrap_or_default();
    format!(
        "is compressed by an HDF5 filter that is not read (number {id}{name}); write the file anew in Python: import \
         hdf5plugin, anndata; anndata.read_h5ad(FILE).write_h5ad(NEW, compression='gzip') — or h5repack -f GZIP=4 FILE \
         NEW, where h5repack has the filter's plugin"
    )
}

/// Undoes the filter `id`, one of the four, for one chunk.
pub(super) fn decode(id: i32, parameters: &[u32], chunk: &[u8]) -> Result<Vec<u8>, String> {
    match id {
        ZSTD => zstd(chunk),
        BLOSC => {
            let mut decoded = zeros(blosc::decoded_bytes(chunk).map_err(|error| error.to_string())? as u64)?;
            blosc::decode(chunk, &mut decoded).map_err(|error| error.to_string())?;
            Ok(decoded)
        }
        LZ4 => lz4(chunk),
        BITSHUFFLE => bitshuffle(parameters, chunk),
        other => Err(unknown(other)),
    }
}

fn zeros(bytes: u64) -> Result<Vec<u8>, String> {
    if bytes > LARGEST_CHUNK {
        return Err(format!("a chunk claims to hold {bytes} bytes, none holds more than {LARGEST_CHUNK}"));
    }
    room(Some(bytes))?;
    Ok(vec![0; bytes as usize])
}

fn zstd(chunk: &[u8]) -> Result<Vec<u8>, String> {
    let decoder = ::zstd::stream::read::Decoder::new(chunk).map_err(|error| error.to_string())?;
    let mut decoded = Vec::new();
    // Read as it comes: what a damaged header claims is never taken from memory at once.
    decoder.take(LARGEST_CHUNK + 1).read_to_end(&mut decoded).map_err(|error| error.to_string())?;
    if decoded.len() as u64 > LARGEST_CHUNK { Err("a chunk does not end".into()) } else { Ok(decoded) }
}

/// The chunk's size (8 bytes), that of a block (4), then every block behind its own size; big-endian.
fn lz4(chunk: &[u8]) -> Result<Vec<u8>, String> {
    let mut rest = chunk;
    let (bytes, block) = (u64::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?) as usize);
    let mut decoded = zeros(bytes)?;
    if block == 0 && bytes > 0 {
        return Err("its blocks have no size".into());
    }
    for out in decoded.chunks_mut(block.max(1)) {
        let size = u32::from_be_bytes(take(&mut rest)?) as usize;
        let encoded = front(&mut rest, size)?;
        if size == out.len() {
            out.copy_from_slice(encoded);
        } else {
            unpack_lz4(encoded, out)?;
        }
    }
    Ok(decoded)
}

fn unpack_lz4(encoded: &[u8], out: &mut [u8]) -> Result<(), String> {
    let found = lz4_flex::block::decompress_into(encoded, out).map_err(|error| error.to_string())?;
    if found == out.len() { Ok(()) } else { Err(format!("a block holds {found} bytes of {}", out.len())) }
}

/// How the blocks behind Bitshuffle are compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    No,
    Lz4,
    Zstd,
}

/// Parameters: version (2), bytes of an element, elements of a block, packing.
fn bitshuffle(parameters: &[u32], chunk: &[u8]) -> Result<Vec<u8>, String> {
    let parameter = |at: usize| parameters.get(at).copied().unwrap_or(0);
    let packing = match parameter(4) {
        0 => Packing::No,
        2 => Packing::Lz4,
        3 => Packing::Zstd,
        other => return Err(format!("Bitshuffle's packing {other} is not known")),
    };
    let item = parameter(2) as usize;
    if item == 0 {
        return Err("Bitshuffle's elements have no size".into());
    }
    let mut rest = chunk;
    let (bytes, block) = match packing {
        Packing::No => (chunk.len() as u64, (parameter(3) as usize).saturating_mul(item)),
        _ => (u64::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?) as usize),
    };
    let usual = (BITSHUFFLE_BLOCK / item / BITSHUFFLE_UNIT * BITSHUFFLE_UNIT).max(BITSHUFFLE_LEAST) * item;
    let block = if block == 0 { usual } else { block };
    let unit = BITSHUFFLE_UNIT * item;
    if !block.is_multiple_of(unit) {
        return Err(format!("Bitshuffle's blocks of {block} bytes are not made of {unit}"));
    }
    let mut decoded = zeros(bytes)?;
    // Fewer than eight elements at the end are as they were.
    let shuffled = decoded.len() / unit * unit;
    let (body, tail) = decoded.split_at_mut(shuffled);
    let mut planes = vec![0; block.min(shuffled)];
    for out in body.chunks_mut(block) {
        let planes = &mut planes[..out.len()];
        match packing {
            Packing::No => planes.copy_from_slice(front(&mut rest, out.len())?),
            Packing::Lz4 => {
                let size = u32::from_be_bytes(take(&mut rest)?) as usize;
                unpack_lz4(front(&mut rest, size)?, planes)?;
            }
            Packing::Zstd => {
                let size = u32::from_be_bytes(take(&mut rest)?) as usize;
                let found = ::zstd::bulk::decompress_to_buffer(front(&mut rest, size)?, planes)
                    .map_err(|error| error.to_string())?;
                if found != planes.len() {
                    return Err(format!("a block holds {found} bytes of {}", planes.len()));
                }
            }
        }
        gather_bits(planes, item, out);
    }
    tail.copy_from_slice(front(&mut rest, tail.len())?);
    Ok(decoded)
}

/// Puts elements of `item` bytes together again, whose first bits lie together in `planes`, then their second, …
fn gather_bits(planes: &[u8], item: usize, out: &mut [u8]) {
    let width = out.len() / item / 8;
    for (bit, plane) in planes.chunks_exact(width.max(1)).enumerate() {
        let (byte, shift) = (bit / 8, bit % 8);
        for (eight, &bits) in plane.iter().enumerate() {
            for element in 0..8 {
                out[(8 * eight + element) * item + byte] |= (bits >> element & 1) << shift;
            }
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, tail) = rest.split_first_chunk().ok_or("a chunk is cut off")?;
    *rest = tail;
    Ok(*head)
}

fn front<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], String> {
    let (head, tail) = rest.split_at_checked(bytes).ok_or("a chunk is cut off")?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of the numbers `i² mod 23`, i below 100, as 32-bit integers, written by hdf5plugin 7.1.
    fn written_by_hdf5plugin() -> Vec<(i32, Vec<u32>, Vec<u8>)> {
        let chunks: [(i32, &[u32], &str); 10] = [
            (
                ZSTD,
                &[5],
                "28b52ffd6090004d020024030000000001000000040000000900000010000000020000000d00000003000000120000000c00\
             0000080000000608120d10040700315f28b8c2dd111cbbcac951ee6e3ad65da707",
            ),
            (
                ZSTD,
                &[4_294_967_293],
                "28b52ffd60900005030094030000000001000000040000000900000010000000020000000d00000003000000120000000c00\
             0000080000000608120d10040004100d1208060e00f92f28ac916f8bcc969065ab7c4b65b633cb2adf15991d21cb55f98eca\
             ec66163d7365",
            ),
            (
                LZ4,
                &[0],
                "0000000000000190000001900000007af31e0000000001000000040000000900000010000000020000000d00000003000000\
             120000000c00000008000000060400000c00001400001c00002400002c00003400003c00004400004c000054000002000008\
             000010000018000020000028000030000038000040000048000050000f5c00f0500003000000",
            ),
            (
                LZ4,
                &[128],
                "0000000000000190000000800000006df31e0000000001000000040000000900000010000000020000000d00000003000000\
             120000000c00000008000000060400000c00001400001c00002400002c00003400003c00004400004c000054000002000008\
             000010000018000020000028000030008003000000120000000000005c930c00000008000000060400000c00001400f20f12\
             000000030000000d000000020000001000000009000000040000000100010000080000100000180000200000280000300000\
             38000040000048000050000f5c000450000d0000000000006bf2030200000010000000090000000400000001000100000800\
             001000001800002000002800f3060d00000003000000120000000c00000008000000060400000c00001400001c0000240000\
             2c00003400003c00004400004c000054000002000008008004000000090000000000001010000000020000000d0000000300\
             0000",
            ),
            (
                BLOSC,
                &[2, 2, 4, 400, 5, 1, 1],
                "02013104900100009001000057000000140000003f000000ff1f0001040910020d03120c080606080c12030d021009040100\
             01040910020d03120c080606080c12030d02100904012e00231f000100ff14500000000000",
            ),
            (
                BLOSC,
                &[2, 2, 4, 400, 5, 2, 5],
                "0201940490010000900100006b000000140000005300000028b52ffd6090004d020024030000000001000000040000000900\
             000010000000020000000d00000003000000120000000c000000080000000608120d10040700315f28b8c2dd111cbbcac951\
             ee6e3ad65da707",
            ),
            (
                BLOSC,
                &[2, 2, 4, 400, 5, 0, 0],
                "0201100490010000900100006b00000014000000530000003f0000000001000000040000000900000010000000020000000d\
             000000030000000c120000000c0000000800000006a0030008a0130012a023000da0330010a0430504000000010080000001\
             e0ff255b010000",
            ),
            (
                BITSHUFFLE,
                &[0, 4, 4, 16, 0],
                "ca00a099445a4866108100000000000000000000000000000000000000000000000000000000000000000000000000000000\
             0000000000000000000000000000536505d02222122408880000000000000000000000000000000000000000000000000000\
             0000000000000000000000000000000000000000000000000000000080a9cc022d1133094004000000000000000000000000\
             00000000000000000000000000000000000000000000000000000000000000000000000000000000000032c0686691969299\
             4420000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
             00000000000054190134884804c9022200000000000000000000000000000000000000000000000000000000000000000000\
             000000000000000000000000000000000000000060aab3004b444c8210010000000000000000000000000000000000000000\
             0000000000000000000000000000000000000000000000000000000000000000000010000000020000000d00000003000000",
            ),
            (
                BITSHUFFLE,
                &[0, 4, 4, 0, 2],
                "00000000000001900000200000000049ff2eca00536580a932c0541960aaa09905d0cc0268660134b300445a22222d119196\
             88484b44486612243309929904c94c82108108884004442002221001000100ff2c50000000000010000000020000000d0000\
             0003000000",
            ),
            (
                BITSHUFFLE,
                &[0, 4, 4, 32, 3, 3],
                "0000000000000190000000800000002428b52ffd2080dd0000a8ca005365a09905d0445a2222486612241081088800010051\
             0a980000002428b52ffd2080dd0000a880a932c0cc0268662d1191963309929940044420000100510a980000002428b52ffd\
             2080dd0000a8541960aa0134b30088484b4404c94c8202221001000100510a9810000000020000000d00000003000000",
            ),
        ];
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes = |hex: &str| hex.as_bytes().chunks_exact(2).map(byte).collect();
        chunks.into_iter().map(|(id, parameters, hex)| (id, parameters.to_vec(), bytes(hex))).collect()
    }

    #[test]
    fn chunks_that_hdf5plugin_wrote_decode_to_what_it_was_given() {
        let want: Vec<u8> = (0..100_i32).flat_map(|i| (i * i % 23).to_le_bytes()).collect();
        for (id, parameters, chunk) in written_by_hdf5plugin() {
            assert_eq!(decode(id, &parameters, &chunk).as_deref(), Ok(&want[..]), "{id} {parameters:?}");
        }
    }

    #[test]
    fn damaged_chunks_are_errors_and_never_end_the_process() {
        for (id, parameters, chunk) in written_by_hdf5plugin() {
            for end in 0..chunk.len() {
                let cut = decode(id, &parameters, &chunk[..end]);
                // Unpacked Bitshuffle has no size of its own.
                assert!(cut.is_err() || parameters.get(4) == Some(&0), "{id} {parameters:?} cut at {end}");
            }
            for at in 0..chunk.len() {
                for bit in 0..8 {
                    let mut flipped = chunk.clone();
                    flipped[at] ^= 1 << bit;
                    let _ = decode(id, &parameters, &flipped);
                }
            }
        }
        assert!(decode(BITSHUFFLE, &[0, 4, 0, 0, 2], &[0; 40]).is_err());
        assert!(decode(BITSHUFFLE, &[], &[0; 40]).is_err());
    }

    #[test]
    fn a_filter_that_is_not_read_is_named_with_the_way_out() {
        let said = unknown(32026);
        assert!(said.contains("32026, blosc2") && said.contains("write_h5ad(NEW, compression='gzip')"), "{said}");
        assert!(unknown(40_000).contains("(number 40000)"));
    }
}
