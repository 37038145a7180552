//! Embeddings of the training cells in a file without a name, made by all ranks together and mapped into memory by each.
//!
//! Guarantee: only cells of the training fold are in it, standardised per dimension with their own statistics.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::Mmap;
use syncyte_sharding::split::Fold;
use tch::{Kind, Tensor};

use super::TaskError;
use super::data::{RunData, gather};
use super::frozen::Frozen;
use crate::cells::dense;
use crate::collective::{Collective, agree};
use crate::shim::{flat, map_finished};

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

/// What is given each block of cells: their rows, expression `[n, G]` and embeddings `[n, d]`.
pub type Visit<'a> = dyn FnMut(&[u64], &Tensor, &Tensor) -> Result<(), TaskError> + 'a;

/// Embeddings of the training fold, in the order of `rows`.
pub struct Latents {
    /// Cells, ascending.
    pub rows: Vec<u64>,
    /// Standardisation; [`Latents::batch`] applies it.
    pub standard: Standard,
    width: usize,
    bytes: Mmap,
}

impl Latents {
    /// Embeds the training fold; each rank does its share. `visit` is given each block of cells: their rows, expression
    /// and embeddings.
    ///
    /// # Errors
    /// When cells cannot be read, the file cannot be written or `visit` fails on any rank; no file stays behind.
    pub fn build(
        folder: &Path,
        data: &RunData,
        frozen: &Frozen,
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
        let (rank, world) = (collective.rank(), collective.size());
        let own = rows.len() * rank / world..rows.len() * (rank + 1) / world;
        let mut sums = vec![0.0; 2 * width];
        let embedded = agree(collective, || -> Result<(), TaskError> {
            let file = OpenOptions::new().write(true).open(&path).map_err(TaskError::io(&path))?;
            for start in own.clone().step_by(BLOCK) {
                let block = &rows[start..own.end.min(start + BLOCK)];
                let x = dense(&data.store, block, &gather(&data.store, block)?);
                let z = frozen.embed(&x).contiguous();
                add_moments(&mut sums, &z);
                visit(block, &x, &z)?;
                let values = flat(&z).map_err(crate::engine::EngineError::from)?;
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                file.write_all_at(&bytes, (start * width * 4) as u64).map_err(TaskError::io(&path))?;
            }
            Ok(())
        });
        if embedded.is_err() && rank == 0 {
            // Why is told; a file that cannot even be removed adds nothing to it, and the next attempt replaces it.
            let _ = fs::remove_file(&path);
        }
        embedded?;
        collective.all_reduce_sum_f64(&mut sums)?;
        let file = File::open(&path).map_err(TaskError::io(&path))?;
        let bytes = map_finished(&file).map_err(TaskError::io(&path))?;
        collective.barrier()?;
        // Every rank has its mapping, which outlives the name: nothing stays behind, however the stage ends.
        agree(collective, || {
            if collective.rank() == 0 { fs::remove_file(&path).map_err(TaskError::io(&path)) } else { Ok(()) }
        })?;
        Ok(Self { standard: standard(&sums, rows.len() as f64), rows, width, bytes })
    }

    /// Standardised embeddings `[n, d]` of training cells by their place in [`Latents::rows`].
    pub fn batch(&self, places: &[usize]) -> Tensor {
        let stride = self.width * 4;
        let mut values = Vec::with_capacity(places.len() * self.width);
        for &place in places {
            let (quads, _) = self.bytes[place * stride..(place + 1) * stride].as_chunks::<4>();
            values.extend(quads.iter().map(|&b| f32::from_le_bytes(b)));
        }
        self.standard.apply(&Tensor::from_slice(&values).view([places.len() as i64, self.width as i64]))
    }
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
