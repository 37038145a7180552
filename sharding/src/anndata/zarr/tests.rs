//! The fast reader of numbers against zarrs, over the layouts that zarr arrays of numbers come in.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use zarrs::array::{Array, ArraySubset, CodecOptions, Element};
use zarrs::filesystem::FilesystemStore;

use super::{Scratch, ZarrReader};
use crate::block::{NumberType, Numbers};

const DTYPES: [&str; 8] = ["uint8", "uint16", "uint32", "int32", "int64", "float32", "float64", "bool"];

/// An array and how it is stored.
#[derive(Clone, Debug)]
struct Layout {
    dtype: &'static str,
    length: u64,
    chunk: u64,
    /// Chunks of a shard, where there are shards.
    chunks: Option<u64>,
    blosc: Option<(&'static str, &'static str, Option<u64>)>,
    checksum: bool,
    index: (&'static str, bool),
    keys: Value,
    /// Whether chunks that hold zeros alone are stored.
    keep_empty: bool,
    /// What makes it one that zarrs has to read.
    odd: Odd,
}

/// Layouts that are read by zarrs alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Odd {
    No,
    BigEndian,
    Gzip,
    Zstd,
    Fill,
    OuterChecksum,
    BigIndex,
}

fn layouts() -> impl Strategy<Value = Layout> {
    let blosc = (
        prop::sample::select(vec!["lz4", "zstd", "zlib"]),
        prop::sample::select(vec!["noshuffle", "shuffle", "bitshuffle"]),
    );
    let keys = prop::sample::select(vec![
        json!({"name": "default", "configuration": {"separator": "/"}}),
        json!({"name": "default", "configuration": {"separator": "."}}),
        json!({"name": "default"}),
        json!({"name": "v2", "configuration": {"separator": "."}}),
        json!({"name": "v2", "configuration": {"separator": "/"}}),
    ]);
    let odd = prop_oneof![
        6 => Just(Odd::No),
        2 => prop::sample::select(vec![
            Odd::BigEndian, Odd::Gzip, Odd::Zstd, Odd::Fill, Odd::OuterChecksum, Odd::BigIndex,
        ]),
    ];
    (
        (prop::sample::select(DTYPES.to_vec()), 0_u64..3000, 1_u64..700, prop::option::of(1_u64..9)),
        (prop::option::of((blosc, prop::option::of(1_u64..9))), any::<bool>()),
        (prop::sample::select(vec!["start", "end"]), any::<bool>(), keys, any::<bool>(), odd),
    )
        .prop_map(
            |((dtype, length, chunk, chunks), (blosc, checksum), (index, index_sum, keys, keep_empty, odd))| {
                // What is odd about shards needs shards.
                let chunks = chunks.or((odd == Odd::BigIndex).then_some(3));
                let blosc = blosc.map(|((codec, shuffle), size)| (codec, shuffle, size));
                let index = (index, index_sum);
                Layout { dtype, length, chunk, chunks, blosc, checksum, index, keys, keep_empty, odd }
            },
        )
}

impl Layout {
    fn item(&self) -> u64 {
        match self.dtype {
            "uint8" | "bool" => 1,
            "uint16" => 2,
            "int64" | "float64" => 8,
            _ => 4,
        }
    }

    /// Whether the fast reader is to read it. Single bytes have no order.
    fn is_served(&self) -> bool {
        self.odd == Odd::No || self.odd == Odd::BigEndian && self.item() == 1
    }

    fn metadata(&self) -> Value {
        let endian = if self.odd == Odd::BigEndian { "big" } else { "little" };
        let mut chain = vec![match self.item() {
            1 => json!({"name": "bytes"}),
            _ => json!({"name": "bytes", "configuration": {"endian": endian}}),
        }];
        match self.odd {
            Odd::Gzip => chain.push(json!({"name": "gzip", "configuration": {"level": 1}})),
            Odd::Zstd => chain.push(json!({"name": "zstd", "configuration": {"level": 1, "checksum": false}})),
            _ => {}
        }
        if let Some((codec, shuffle, size)) = self.blosc {
            // Python's writers put 1 for a size that is the item's; any is allowed.
            let typesize = size.unwrap_or(self.item());
            chain.push(json!({"name": "blosc", "configuration":
                {"cname": codec, "clevel": 3, "shuffle": shuffle, "typesize": typesize, "blocksize": 0}}));
        }
        if self.checksum {
            chain.push(json!({"name": "crc32c"}));
        }
        let mut file = self.chunk;
        if let Some(chunks) = self.chunks {
            file *= chunks;
            let order = if self.odd == Odd::BigIndex { "big" } else { "little" };
            let mut index = vec![json!({"name": "bytes", "configuration": {"endian": order}})];
            if self.index.1 {
                index.push(json!({"name": "crc32c"}));
            }
            chain = vec![json!({"name": "sharding_indexed", "configuration": {
                "chunk_shape": [self.chunk], "codecs": chain, "index_codecs": index, "index_location": self.index.0,
            }})];
        }
        if self.odd == Odd::OuterChecksum {
            chain.extend([json!({"name": "crc32c"}), json!({"name": "crc32c"})]);
        }
        let fill = match (self.dtype, self.odd) {
            ("bool", odd) => json!(odd == Odd::Fill),
            ("float32" | "float64", Odd::Fill) => json!(2.5),
            ("float32" | "float64", _) => json!(0.0),
            (_, odd) => json!(if odd == Odd::Fill { 3 } else { 0 }),
        };
        json!({
            "zarr_format": 3, "node_type": "array", "shape": [self.length], "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [file]}},
            "chunk_key_encoding": self.keys, "fill_value": fill, "codecs": chain, "attributes": {},
        })
    }

    /// Whether zarrs cuts the frames of Blosc where numbers begin.
    fn frames_fit(&self) -> bool {
        let bytes = if matches!(self.odd, Odd::Gzip | Odd::Zstd) { 1 } else { self.item() };
        self.blosc.is_none_or(|(_, _, size)| bytes.is_multiple_of(size.unwrap_or(self.item())))
    }

    fn file(&self) -> u64 {
        self.chunk * self.chunks.unwrap_or(1)
    }

    /// Writes the array with zarrs: numbers that follow from `seed`, with whole chunks of zeros among them, which come
    /// back as they are to be read.
    fn write(&self, folder: &Path, seed: u64) -> Vec<f64> {
        std::fs::create_dir_all(folder.join("a")).unwrap();
        std::fs::write(folder.join("a/zarr.json"), self.metadata().to_string()).unwrap();
        let number = |at: u64| {
            let mixed = (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            if (at / self.chunk + seed).is_multiple_of(3) { 0 } else { mixed % 97 }
        };
        match self.dtype {
            "uint8" => self.store(folder, |at| (number(at) as u8, number(at) as f64)),
            "uint16" => self.store(folder, |at| (number(at) as u16 * 600, (number(at) * 600) as f64)),
            "uint32" => self.store(folder, |at| (number(at) as u32 * 70_001, (number(at) * 70_001) as f64)),
            "int32" => self.store(folder, |at| (number(at) as i32 * 9999, (number(at) * 9999) as f64)),
            "int64" => self.store(folder, |at| (number(at) as i64 * 12_345, (number(at) * 12_345) as f64)),
            "float32" => self.store(folder, |at| (number(at) as f32 / 8.0, number(at) as f64 / 8.0)),
            "float64" => self.store(folder, |at| (number(at) as f64 / 8.0, number(at) as f64 / 8.0)),
            _ => self.store(folder, |at| (number(at) % 2 == 1, (number(at) % 2) as f64)),
        }
    }

    fn store<T: Element + Copy>(&self, folder: &Path, number: impl Fn(u64) -> (T, f64)) -> Vec<f64> {
        let (numbers, wide): (Vec<T>, Vec<f64>) = (0..self.length).map(number).unzip();
        if self.length == 0 {
            return wide;
        }
        let storage = Arc::new(FilesystemStore::new(folder).unwrap());
        let array = Array::open(storage, "/a").unwrap();
        let options = CodecOptions::default().with_store_empty_chunks(self.keep_empty);
        let whole = ArraySubset::new_with_shape(vec![self.length]);
        array.store_array_subset_opt(&whole, numbers, &options).unwrap();
        wide
    }

    /// A file of the array, removed: fill values to a reader that is not told that the array is whole.
    fn remove_a_file(&self, folder: &Path, at: prop::sample::Index, numbers: &mut [f64]) {
        let mut files: Vec<_> = files(&folder.join("a"));
        files.sort();
        if files.is_empty() {
            return;
        }
        let file = &files[at.index(files.len())];
        std::fs::remove_file(file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let first = name.rsplit('.').next().unwrap().parse::<u64>().unwrap() * self.file();
        let end = (first + self.file()).min(self.length);
        let fill = match (self.odd, self.dtype) {
            (Odd::Fill, "bool") => 1.0,
            (Odd::Fill, "float32" | "float64") => 2.5,
            (Odd::Fill, _) => 3.0,
            _ => 0.0,
        };
        numbers[first as usize..end as usize].fill(fill);
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.file_name().unwrap() != "zarr.json")
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_fast_reader_reads_what_zarrs_reads_in_every_layout_and_leaves_the_rest_to_it(
        layout in layouts(), seed in 0_u64..1000,
        removed in prop::option::of(any::<prop::sample::Index>()),
        ranges in prop::collection::vec((0_u64..3000, 0_u64..3000), 1..12),
        target in prop::sample::select(vec![NumberType::U8, NumberType::U16, NumberType::U32, NumberType::F32]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut numbers = layout.write(folder.path(), seed);
        if let Some(at) = removed {
            layout.remove_a_file(folder.path(), at, &mut numbers);
        }
        let reader = ZarrReader::open(folder.path()).unwrap();
        let zarrs = reader.array("a").unwrap();
        let fast = reader.numbers("a", false).unwrap();
        prop_assert_eq!(fast.is_some(), layout.is_served());
        let mut scratch = Scratch::default();
        for (from, to) in ranges {
            let (from, to) = (from.min(layout.length), to.min(layout.length));
            let range = from.min(to)..from.max(to);
            let expected = &numbers[range.start as usize..range.end as usize];
            match zarrs.read_f64(std::slice::from_ref(&range)) {
                Ok(found) => prop_assert_eq!(found, expected, "zarrs: {:?}", range),
                Err(error) => prop_assert!(!layout.frames_fit(), "{}", error),
            }
            let Some(fast) = &fast else { continue };
            // Numbers around those asked for stay as they are.
            let mut out = Numbers::empty(target);
            out.reset(target, expected.len() + 2);
            fast.will_read(range.clone());
            fast.read(range.clone(), &mut scratch, &mut out, 1).unwrap();
            let cast = |value: f64| match target {
                NumberType::U8 => f64::from(value as i64 as u8),
                NumberType::U16 => f64::from(value as i64 as u16),
                NumberType::U32 => f64::from(value as i64 as u32),
                NumberType::F32 => f64::from(value as f32),
            };
            prop_assert_eq!(out.get(0), 0.0);
            prop_assert_eq!(out.get(expected.len() + 1), 0.0);
            for (at, &value) in expected.iter().enumerate() {
                // Fractions saturate where whole numbers wrap; only a number that fits is promised.
                if cast(value) == value || target == NumberType::F32 {
                    prop_assert_eq!(out.get(at + 1), cast(value), "number {} of {:?}", at, range);
                }
            }
        }
        if let Some(fast) = &fast {
            let beyond = fast.read(0..layout.length + 1, &mut scratch, &mut Numbers::empty(target), 0);
            prop_assert!(beyond.unwrap_err().to_string().contains("is not within"));
        }
    }
}

#[test]
fn a_file_that_is_gone_is_an_error_to_whoever_knows_that_the_array_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let keys = json!({"name": "default"});
    let layout = Layout {
        dtype: "uint16",
        length: 1000,
        chunk: 100,
        chunks: Some(4),
        blosc: None,
        checksum: true,
        index: ("end", true),
        keys,
        keep_empty: true,
        odd: Odd::No,
    };
    layout.write(folder.path(), 1);
    std::fs::remove_file(folder.path().join("a/c/1")).unwrap();
    let array = ZarrReader::open(folder.path()).unwrap().numbers("a", true).unwrap().unwrap();
    let mut out = Numbers::empty(NumberType::U16);
    out.reset(NumberType::U16, 1000);
    array.read(0..400, &mut Scratch::default(), &mut out, 0).unwrap();
    let error = array.read(300..500, &mut Scratch::default(), &mut out, 0).unwrap_err().to_string();
    assert!(error.contains("a/c/1") && error.contains("missing"), "{error}");
}
