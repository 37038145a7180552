//! Reading safetensors files.

use std::fs::File;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors};
use tch::Tensor;

use super::CheckpointError;
use crate::params::ParamSet;
use crate::shim::map_finished;

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
