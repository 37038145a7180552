//! What one rank writes of a checkpoint: copied into memory at a step, written and reported later.
//!
//! Guarantee: after [`Part::copy`] training may go on; what is written are the values of that step. The first rank
//! writes the model (and what later stages add), the last one the teacher, and each its share of the moments.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::manifest::FileRecord;
use super::stream::{Stop, TensorFile, write_bytes};
use super::{CheckpointError, MODEL, TEACHER};
use crate::engine::{EngineError, FlatState, digest_of};
use crate::params::ParamSet;
use crate::shim::flat;

/// Elements that a thread copies at a time, 1 MiB.
const BLOCK: usize = 1 << 18;

/// Buffers of an earlier checkpoint by the names of their files.
pub(super) type Buffers = BTreeMap<String, Vec<f32>>;

/// A file in memory.
struct Copied {
    name: String,
    file: TensorFile,
    values: Vec<f32>,
}

/// The files of one rank.
pub(super) struct Part(Vec<Copied>);

/// What a rank has written, for the rank that completes the checkpoint.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// Files by name.
    pub(super) files: BTreeMap<String, FileRecord>,
    /// Digests of whole buffers that the name of the state is made of.
    pub(super) digests: BTreeMap<String, [u8; 32]>,
}

/// How a rank's part ended, as the rank that completes the checkpoint reads it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// All files are on the disk.
    Written(Written),
    /// They are not, for this reason.
    Failed(String),
}

/// The elements whose optimizer state rank `rank` of `world` writes.
fn optimizer_range(len: usize, rank: usize, world: usize) -> Range<usize> {
    len * rank / world..len * (rank + 1) / world
}

/// Copies slices one behind the other, on all threads.
fn join<'a>(sources: impl Iterator<Item = &'a [f32]> + Clone, mut values: Vec<f32>) -> Vec<f32> {
    values.resize(sources.clone().map(<[f32]>::len).sum(), 0.0);
    let mut rest = values.as_mut_slice();
    for source in sources {
        let (own, after) = rest.split_at_mut(source.len());
        own.par_chunks_mut(BLOCK).zip(source.par_chunks(BLOCK)).for_each(|(to, from)| to.copy_from_slice(from));
        rest = after;
    }
    values
}

impl Part {
    /// Copies what rank `rank` of `world` writes, into old buffers where there are any.
    pub(super) fn copy(
        trained: &FlatState,
        extra: &[(&'static str, &ParamSet)],
        (rank, world): (usize, usize),
        buffers: &mut Buffers,
    ) -> Result<Self, CheckpointError> {
        let first = (rank == 0).then_some((MODEL, &trained.params));
        let last = trained.teacher.as_ref().filter(|_| rank + 1 == world).map(|teacher| (TEACHER, teacher));
        let extra = extra.iter().copied().filter(|_| rank == 0);
        let mut files = Vec::new();
        for (name, set) in first.into_iter().chain(extra).chain(last) {
            let host = set.on_host();
            let source = flat(&host).map_err(EngineError::from)?;
            let values = join(std::iter::once(source), buffers.remove(name).unwrap_or_default());
            files.push(Copied { name: name.to_owned(), file: TensorFile::of_layout(set.layout())?, values });
        }
        let name = format!("optimizer-{rank}-of-{world}.safetensors");
        let buffer = buffers.remove(&name).unwrap_or_default();
        let share = optimizer_range(trained.params.layout().len(), rank, world);
        let moments = trained.moments(&share);
        let runs = moments.runs()?;
        let ranges: Vec<String> = runs.iter().map(|run| format!("{}-{}", run.range.start, run.range.end)).collect();
        let values = join(runs.iter().map(|run| run.m).chain(runs.iter().map(|run| run.v)), buffer);
        let file = TensorFile::of_vectors(["m", "v"], values.len() / 2, [("ranges", ranges.join(","))])?;
        files.push(Copied { name, file, values });
        Ok(Self(files))
    }

    /// The memory, for the next checkpoint.
    pub(super) fn into_buffers(self) -> Buffers {
        self.0.into_iter().map(|copied| (copied.name, copied.values)).collect()
    }

    /// Writes all files into a folder, synced. Where one cannot be written, those before it are removed.
    pub(super) fn write(&self, folder: &Path, stop: &Stop) -> Result<Written, CheckpointError> {
        let mut written = Written::default();
        for Copied { name, file, values } in &self.0 {
            match file.write(&folder.join(name), values, stop) {
                Ok(record) => written.files.insert(name.clone(), record),
                Err(error) => {
                    // A full disk then has room to say so.
                    for copied in &self.0 {
                        let _ = fs::remove_file(folder.join(&copied.name));
                    }
                    return Err(error);
                }
            };
            if [MODEL, TEACHER].contains(&name.as_str()) {
                written.digests.insert(name.clone(), digest_of(values));
            }
        }
        Ok(written)
    }
}

/// File in which a rank reports, while the checkpoint is not complete.
pub(super) fn report_path(folder: &Path, rank: usize) -> PathBuf {
    folder.join(format!(".rank-{rank}.json"))
}

/// Empty file by which a rank says that it failed and cannot even write why.
pub(super) fn marker_path(folder: &Path, rank: usize) -> PathBuf {
    folder.join(format!(".rank-{rank}.failed"))
}

/// Reports how a rank's part ended, to the rank that completes the checkpoint.
pub(super) fn report(folder: &Path, rank: usize, report: &Report) -> Result<(), CheckpointError> {
    let path = report_path(folder, rank);
    let beside = path.with_extension("partial");
    let text = serde_json::to_vec(report).map_err(|error| CheckpointError::invalid(&path, &error))?;
    let told = write_bytes(&beside, &text).and_then(|_| fs::rename(&beside, &path).map_err(CheckpointError::io(&path)));
    if told.is_err() {
        // An empty file takes no block of a disk that is full.
        let _ = fs::remove_file(&beside);
        let _ = File::create(marker_path(folder, rank));
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn optimizer_ranges_cover_the_state_once(len in 0_usize..10_000, world in 1_usize..17) {
            let mut at = 0;
            for rank in 0..world {
                let range = optimizer_range(len, rank, world);
                prop_assert_eq!(range.start, at);
                at = range.end;
            }
            prop_assert_eq!(at, len);
        }

        #[test]
        fn slices_are_joined_in_order_into_a_buffer_of_any_size(
            lengths in prop::collection::vec(0_usize..5000, 0..6), before in 0_usize..20_000,
        ) {
            let mut at = 0.0;
            let sources: Vec<Vec<f32>> =
                lengths.iter().map(|&n| (0..n).map(|_| { at += 1.0; at }).collect()).collect();
            let joined = join(sources.iter().map(Vec::as_slice), vec![-1.0; before]);
            prop_assert_eq!(joined, sources.concat());
        }
    }
}
