//! Embeddings of the training cells in a file without a name, made by all ranks together and read by each.
//!
//! Guarantee: only cells of the training fold are in it, standardised per dimension with their own statistics. What is read
//! of it is all that is held in memory.

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use syncyte_sharding::split::Fold;
use tch::{Device, Kind, Tensor};

use super::frozen::Frozen;
use crate::batch::cells::dense;
use crate::loss::moments::tree_sum;
use crate::reader::view;
use crate::shim::flat;
use crate::training::data::{RunData, gather};
use crate::training::{Shards, TaskError};
use syncyte_fabric::collective::{Collective, agree};

/// Cells embedded at once.
const BLOCK: usize = 256;
/// Smallest standard deviation that a dimension is divided by.
const SD_FLOOR: f64 = 1e-6;

/// Mean and standard deviation of every latent dimension over the training cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations.
    pub sd: Vec<f64>,
}

impl Standard {
    fn tensors(&self) -> (Tensor, Tensor) {
        let as_f32 = |v: &[f64]| Tensor::from_slice(&v.iter().map(|&x| x as f32).collect::<Vec<_>>());
        (as_f32(&self.mean), as_f32(&self.sd))
    }

    /// Latents to zero mean and unit variance.
    pub fn apply(&self, z: &Tensor) -> Tensor {
        let (mean, sd) = self.tensors();
        (z - mean) / sd
    }

    /// Back to latents.
    pub fn undo(&self, z: &Tensor) -> Tensor {
        let (mean, sd) = self.tensors();
        z * sd + mean
    }
}

/// What is given each block of cells: the number of this rank's shard, their rows, expression `[n, G]` and embeddings
/// `[n, d]`.
pub type Visit<'a> = dyn FnMut(usize, &[u64], &Tensor, &Tensor) -> Result<(), TaskError> + 'a;

/// Embeddings of the training fold, in the order of `rows`.
pub struct Latents {
    /// Cells, ascending.
    pub rows: Vec<u64>,
    /// Standardisation; [`Latents::batch`] applies it.
    pub standard: Standard,
    width: usize,
    file: File,
}

impl Latents {
    /// Embeds the training fold; each rank does its shards.
    ///
    /// # Errors
    /// When cells cannot be read, the file cannot be written or `visit` fails on any rank; no file stays behind.
    pub fn build(
        folder: &Path,
        data: &RunData,
        frozen: &Frozen,
        shards: Shards,
        collective: &dyn Collective,
        visit: &mut Visit<'_>,
    ) -> Result<Self, TaskError> {
        let rows = data.split.rows(Fold::Train);
        let width = frozen.width() as usize;
        let path = folder.join("latents.partial.f32");
        agree(collective, || {
            if collective.rank() != 0 {
                return Ok(());
            }
            let file = File::create(&path).map_err(TaskError::io(&path))?;
            file.set_len((rows.len() * width * 4) as u64).map_err(TaskError::io(&path))
        })?;
        let mut sums = Vec::with_capacity(shards.per_rank);
        let embedded = agree(collective, || -> Result<(), TaskError> {
            let file = OpenOptions::new().write(true).open(&path).map_err(TaskError::io(&path))?;
            for (own, shard) in shards.own().enumerate() {
                let mut shard_sums = vec![0.0; 2 * width];
                for block in blocks(rows.len(), shard, shards.count) {
                    let cells = &rows[block.clone()];
                    let csr = gather(&data.store, cells)?;
                    let x = dense(&data.store, cells, &csr);
                    let z = frozen.embed(&view(&data.store, frozen.input(), cells, &csr)).contiguous();
                    add_moments(&mut shard_sums, &z);
                    visit(own, cells, &x, &z)?;
                    let values = flat(&z).map_err(crate::engine::EngineError::from)?;
                    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                    file.write_all_at(&bytes, (block.start * width * 4) as u64).map_err(TaskError::io(&path))?;
                }
                sums.push(shard_sums);
            }
            Ok(())
        });
        if embedded.is_err() && collective.rank() == 0 {
            // Why is told; a file that cannot even be removed adds nothing to it, and the next attempt replaces it.
            let _ = fs::remove_file(&path);
        }
        embedded?;
        let mut sums = tree_sum(sums);
        collective.all_reduce_sum_f64(&mut sums)?;
        let file = File::open(&path).map_err(TaskError::io(&path))?;
        collective.barrier()?;
        // Every rank has the file open, which outlives its name: nothing stays behind, however the stage ends.
        agree(collective, || {
            if collective.rank() == 0 { fs::remove_file(&path).map_err(TaskError::io(&path)) } else { Ok(()) }
        })?;
        Ok(Self { standard: standard(&sums, rows.len() as f64), rows, width, file })
    }

    /// Standardised embeddings `[n, d]` of training cells by their place in [`Latents::rows`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn batch(&self, places: &[usize]) -> Result<Tensor, TaskError> {
        let stride = self.width * 4;
        let mut bytes = vec![0; stride];
        let mut values = Vec::with_capacity(places.len() * self.width);
        for &place in places {
            let read = self.file.read_exact_at(&mut bytes, (place * stride) as u64);
            read.map_err(|source| TaskError::Io { path: "the embeddings of the training cells".into(), source })?;
            let (quads, _) = bytes.as_chunks::<4>();
            values.extend(quads.iter().map(|&b| f32::from_le_bytes(b)));
        }
        Ok(self.standard.apply(&Tensor::from_slice(&values).view([places.len() as i64, self.width as i64])))
    }

    /// Mean standardised embedding `[d]` of some cells, zero for none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn mean(&self, places: &[usize]) -> Result<Tensor, TaskError> {
        let mut sum = Tensor::zeros([self.width as i64], (Kind::Double, Device::Cpu));
        for block in places.chunks(BLOCK) {
            sum += self.batch(block)?.sum_dim_intlist([0_i64].as_slice(), false, Kind::Double);
        }
        Ok((sum / places.len().max(1) as f64).to_kind(Kind::Float))
    }
}

/// The blocks of cells of a shard. Where blocks begin does not depend on the number of shards: a product of matrices may
/// round a row differently in other company.
fn blocks(cells: usize, shard: usize, shards: usize) -> impl Iterator<Item = Range<usize>> {
    let all = cells.div_ceil(BLOCK);
    (all * shard / shards..all * (shard + 1) / shards).map(move |at| at * BLOCK..cells.min((at + 1) * BLOCK))
}

fn add_moments(sums: &mut [f64], z: &Tensor) {
    let z = z.to_kind(Kind::Double);
    let add = |into: &mut [f64], from: &Tensor| {
        let values = Vec::<f64>::try_from(from).unwrap_or_default();
        into.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    };
    let (first, second) = sums.split_at_mut(z.size()[1] as usize);
    add(first, &z.sum_dim_intlist([0_i64].as_slice(), false, Kind::Double));
    add(second, &z.square().sum_dim_intlist([0_i64].as_slice(), false, Kind::Double));
}

fn standard(sums: &[f64], n: f64) -> Standard {
    let (first, second) = sums.split_at(sums.len() / 2);
    let mean: Vec<f64> = first.iter().map(|s| s / n).collect();
    let sd = second.iter().zip(&mean).map(|(s, m)| (s / n - m * m).max(0.0).sqrt().max(SD_FLOOR)).collect();
    Standard { mean, sd }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, blocks};

    #[test]
    fn shards_cover_the_cells_once_in_blocks_that_begin_where_they_always_do() {
        for cells in [0, 1, BLOCK, 5 * BLOCK + 3] {
            for shards in [1, 2, 4, 8] {
                let all: Vec<_> = (0..shards).flat_map(|shard| blocks(cells, shard, shards)).collect();
                assert!(all.iter().all(|block| block.start % BLOCK == 0 && block.len() <= BLOCK));
                assert_eq!(all.iter().cloned().flatten().collect::<Vec<_>>(), (0..cells).collect::<Vec<_>>());
            }
        }
    }
}
