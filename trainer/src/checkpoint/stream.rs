//! Files written in one pass: hashed while they are written, synced at the end.
//!
//! Guarantee: the record of a file is that of the bytes that were given to the disk. Values go out as they lie in
//! memory, a block at a time, so a file takes no memory of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use sha2::{Digest, Sha256};

use super::CheckpointError;
use super::manifest::FileRecord;
use crate::params::Layout;
use syncyte_fabric::hash::hex;

/// Bytes that are hashed and then written while they are still in the cache.
const BLOCK: usize = 1 << 20;

/// Tells the thread that writes to give up.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error once it is set.
    pub(super) fn check(&self) -> Result<(), CheckpointError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(CheckpointError::Elsewhere("it was given up".into()));
        }
        Ok(())
    }
}

/// A new file and the hash of what has been written to it.
pub(super) struct HashedFile<'a> {
    path: PathBuf,
    file: File,
    digest: Sha256,
    bytes: u64,
    stop: &'a Stop,
}

impl<'a> HashedFile<'a> {
    pub(super) fn create(path: &Path, stop: &'a Stop) -> Result<Self, CheckpointError> {
        let file = File::create_new(path).map_err(CheckpointError::io(path))?;
        Ok(Self { path: path.to_owned(), file, digest: Sha256::new(), bytes: 0, stop })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        for block in bytes.chunks(BLOCK) {
            self.stop.check()?;
            self.digest.update(block);
            self.file.write_all(block).map_err(CheckpointError::io(&self.path))?;
            self.bytes += block.len() as u64;
        }
        Ok(())
    }

    /// Syncs the file to the disk.
    pub(super) fn finish(self) -> Result<FileRecord, CheckpointError> {
        self.file.sync_all().map_err(CheckpointError::io(&self.path))?;
        Ok(FileRecord { bytes: self.bytes, sha256: hex(&self.digest.finalize()) })
    }
}

/// Writes a small file, synced.
pub(super) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<FileRecord, CheckpointError> {
    let stop = Stop::default();
    let mut file = HashedFile::create(path, &stop)?;
    file.write(bytes)?;
    file.finish()
}

/// Which runs of a buffer of f32 make up a safetensors file, and its header.
#[derive(Debug)]
pub(super) struct TensorFile {
    header: Vec<u8>,
    pieces: Vec<Range<usize>>,
}

impl TensorFile {
    /// The parameters of a layout, out of its flat buffer, in the order in which they lie there.
    pub(super) fn of_layout(layout: &Layout) -> Result<Self, CheckpointError> {
        let mut tensors: Vec<_> = (0..layout.specs().len())
            .map(|index| {
                let spec = &layout.specs()[index];
                let shape: Vec<usize> = spec.shape.iter().map(|&n| n as usize).collect();
                (spec.name.clone(), shape, layout.range(index).start)
            })
            .collect();
        tensors.sort_by_key(|(_, _, start)| *start);
        Self::new(tensors, [("format", "pt".to_owned())])
    }

    /// Vectors that lie one behind the other.
    pub(super) fn of_vectors<const N: usize>(
        names: [&str; N],
        len: usize,
        metadata: [(&str, String); 1],
    ) -> Result<Self, CheckpointError> {
        let vectors = names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), vec![len], index * len));
        Self::new(vectors.collect(), metadata)
    }

    /// Tensors by name, shape and first element in the buffer.
    fn new(tensors: Vec<(String, Vec<usize>, usize)>, metadata: [(&str, String); 1]) -> Result<Self, CheckpointError> {
        let (mut pieces, mut infos, mut at) = (Vec::new(), Vec::new(), 0);
        for (name, shape, start) in tensors {
            let len = shape.iter().product::<usize>();
            let end = at + len * size_of::<f32>();
            infos.push((name, TensorInfo { dtype: Dtype::F32, shape, data_offsets: (at, end) }));
            pieces.push(start..start + len);
            at = end;
        }
        let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        let metadata = Metadata::new(Some(metadata), infos).map_err(refused)?;
        let mut text = serde_json::to_vec(&metadata).map_err(refused)?;
        // Values begin at a multiple of eight bytes.
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.append(&mut text);
        Ok(Self { header, pieces })
    }

    /// Writes the file out of its buffer.
    pub(super) fn write(&self, path: &Path, values: &[f32], stop: &Stop) -> Result<FileRecord, CheckpointError> {
        let mut file = HashedFile::create(path, stop)?;
        file.write(&self.header)?;
        for piece in &self.pieces {
            file.write(bytemuck::cast_slice(&values[piece.clone()]))?;
        }
        file.finish()
    }
}

/// The format cannot hold the tensors.
fn refused(error: impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Io { path: "safetensors header".into(), source: std::io::Error::other(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;

    use super::*;
    use crate::checkpoint::manifest::record;
    use crate::params::{Group, Init, Registry};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_formats_own_reader_finds_every_tensor_with_its_shape_and_bits(
            shapes in prop::collection::vec((prop::collection::vec(1_i64..9, 1..4), any::<[bool; 2]>()), 1..12),
        ) {
            let mut registry = Registry::default();
            for (index, (shape, [encoder, decays])) in shapes.iter().enumerate() {
                let group = if *encoder { Group::averaged("encoder") } else { Group::new("head") };
                let name = format!("layer.{index}");
                if *decays {
                    registry.weight(group, name, shape, Init::Zeros);
                } else {
                    registry.plain(group, name, shape, Init::Zeros);
                }
            }
            let layout = registry.layout();
            // NaNs with a payload among them: bits, not numbers, are what is kept.
            let values: Vec<f32> = (0..layout.len() as u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9))).collect();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.safetensors");
            let written = TensorFile::of_layout(&layout).unwrap().write(&path, &values, &Stop::default()).unwrap();
            prop_assert_eq!(&written, &record(&path).unwrap());

            let bytes = std::fs::read(&path).unwrap();
            let read = SafeTensors::deserialize(&bytes).unwrap();
            prop_assert_eq!(read.len(), shapes.len());
            for (index, spec) in layout.specs().iter().enumerate() {
                let tensor = read.tensor(&spec.name).unwrap();
                let shape: Vec<i64> = tensor.shape().iter().map(|&n| n as i64).collect();
                prop_assert_eq!(&shape, &spec.shape);
                let start = layout.range(index).start;
                let wanted = &values[start..start + shape.iter().product::<i64>() as usize];
                prop_assert_eq!(tensor.data(), bytemuck::cast_slice::<f32, u8>(wanted));
                prop_assert_eq!(tensor.data().as_ptr().align_offset(4), bytes.as_ptr().align_offset(4));
            }
            let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
            prop_assert_eq!(metadata.metadata().as_ref().unwrap()["format"].as_str(), "pt");
        }
    }

    #[test]
    fn a_writer_that_is_stopped_says_so_before_the_next_block() {
        let (folder, stop) = (tempfile::tempdir().unwrap(), Stop::default());
        let mut file = HashedFile::create(&folder.path().join("file"), &stop).unwrap();
        file.write(&[1, 2, 3]).unwrap();
        stop.set();
        assert!(matches!(file.write(&[4]), Err(CheckpointError::Elsewhere(_))));
    }
}
