//! Parameter sets as safetensors files.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};
use tch::Tensor;

use super::CheckpointError;
use crate::params::ParamSet;
use crate::shim::{flat, map_finished};

/// An f32 tensor of a file.
struct Entry {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Entry {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn entry(tensor: &Tensor) -> Result<Entry, CheckpointError> {
    let tensor = tensor.detach().contiguous();
    let values = flat(&tensor).map_err(crate::engine::EngineError::from)?;
    Ok(Entry {
        shape: tensor.size().iter().map(|&n| n as usize).collect(),
        bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    })
}

/// Writes named f32 tensors, with metadata, to `path`.
///
/// # Errors
/// When a tensor is not f32 on the CPU or the file cannot be written.
pub fn save_named<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    metadata: &[(&str, String)],
) -> Result<(), CheckpointError> {
    let entries = tensors
        .map(|(name, tensor)| Ok((name.to_owned(), entry(tensor)?)))
        .collect::<Result<Vec<_>, CheckpointError>>()?;
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let views = entries.iter().map(|(name, entry)| (name.as_str(), entry));
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| CheckpointError::Io {
        path: path.display().to_string(),
        source: std::io::Error::other(error.to_string()),
    })
}

/// Writes all parameters of a set.
///
/// # Errors
/// As [`save_named`].
pub fn save(path: &Path, params: &ParamSet) -> Result<(), CheckpointError> {
    save_named(path, params.named(), &[("format", "pt".to_owned())])
}

/// Reads a file's tensors with `visit`.
pub(super) fn with_file<T>(
    path: &Path,
    visit: impl FnOnce(&SafeTensors<'_>) -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io(path))?;
    let bytes = map_finished(&file).map_err(CheckpointError::io(path))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| CheckpointError::Damaged {
        path: path.display().to_string(),
        what: format!("not a safetensors file: {error}"),
    })?;
    visit(&tensors)
}

/// One f32 tensor of a file as values.
pub(super) fn values(
    path: &Path,
    tensors: &SafeTensors<'_>,
    name: &str,
) -> Result<(Vec<i64>, Vec<f32>), CheckpointError> {
    let misfit = |what: String| CheckpointError::Shape { path: path.display().to_string(), what };
    let view = tensors.tensor(name).map_err(|_| misfit(format!("`{name}` is missing")))?;
    if view.dtype() != Dtype::F32 {
        return Err(misfit(format!("`{name}` is {:?}, not F32", view.dtype())));
    }
    let shape = view.shape().iter().map(|&n| n as i64).collect();
    let (quads, _) = view.data().as_chunks::<4>();
    Ok((shape, quads.iter().map(|&b| f32::from_le_bytes(b)).collect()))
}

/// Fills every parameter of `params` from a file.
///
/// # Errors
/// When a parameter is missing or has another shape, by name with both shapes.
pub fn load_into(path: &Path, params: &ParamSet) -> Result<(), CheckpointError> {
    with_file(path, |tensors| {
        for (name, parameter) in params.named() {
            let (shape, values) = values(path, tensors, name)?;
            if shape != parameter.size() {
                return Err(CheckpointError::Shape {
                    path: path.display().to_string(),
                    what: format!("`{name}` has shape {shape:?} in the file and {:?} in the model", parameter.size()),
                });
            }
            tch::no_grad(|| {
                parameter.detach().copy_(&Tensor::from_slice(&values).view(shape.as_slice()));
            });
        }
        Ok(())
    })
}
