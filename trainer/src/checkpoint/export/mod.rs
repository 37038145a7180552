//! A checkpoint as a plain folder for inference, in the layout that Hugging Face's tools expect.
//!
//! Guarantee: `config.json`, `model.safetensors` (teacher's encoder, perturbation encoder, predictor), the names in the
//! order of the model's inputs and a model card; written beside and renamed, so the folder is whole or absent.

mod card;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tch::Device;

use super::disk::{sync_folder, write_json};
use super::stream::{Stop, TensorFile, write_bytes};
use super::{Checkpoint, CheckpointError, MODEL, Stage, State, TEACHER};
use crate::engine::EngineError;
use crate::layer::{INIT_SD, NORM_EPS};
use crate::model::Jepa;
use crate::params::ParamSet;
use crate::shim::flat;

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Folder.
    pub folder: PathBuf,
    /// Step of the checkpoint.
    pub step: u64,
    /// Number of parameters.
    pub parameters: usize,
}

/// Writes the model of a pretraining checkpoint into a new or empty folder.
///
/// # Errors
/// When the checkpoint is of another stage, `out` is something else than an empty folder, or a file cannot be written.
pub fn export(checkpoint: &Checkpoint, out: &Path) -> Result<Exported, CheckpointError> {
    checkpoint.require_stage(Stage::Pretrain)?;
    let occupied = || CheckpointError::Occupied { path: out.display().to_string() };
    let free =
        fs::read_dir(out).map_or_else(|_| out.symlink_metadata().is_err(), |mut entries| entries.next().is_none());
    let name = out.file_name().filter(|_| free).ok_or_else(occupied)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(CheckpointError::io(parent))?;
    let beside = parent.join(format!(".{}.partial", name.to_string_lossy()));
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(CheckpointError::io(&beside))?;
    }
    let exported = fs::create_dir(&beside).map_err(CheckpointError::io(&beside)).and_then(|()| {
        let parameters = write_files(checkpoint, &beside)?;
        sync_folder(&beside)?;
        fs::rename(&beside, out).map_err(CheckpointError::io(out))?;
        sync_folder(parent)?;
        Ok(Exported { folder: out.to_owned(), step: checkpoint.state.step, parameters })
    });
    if exported.is_err() {
        // The error is what is told; what cannot be removed is replaced next time.
        let _ = fs::remove_dir_all(&beside);
    }
    exported
}

/// Writes everything; gives the number of parameters.
fn write_files(checkpoint: &Checkpoint, folder: &Path) -> Result<usize, CheckpointError> {
    let state = &checkpoint.state;
    let vocabulary = &state.vocabulary;
    for (file, names) in [
        ("vocab.txt", &vocabulary.genes),
        ("targets.txt", &vocabulary.targets),
        ("contexts.txt", &vocabulary.contexts),
        ("kinds.txt", &vocabulary.kinds),
    ] {
        write_bytes(&folder.join(file), lines(file, names)?.as_bytes())?;
    }
    let shape = |what: String| CheckpointError::Shape { path: checkpoint.folder().display().to_string(), what };
    let model = Jepa::new(&state.config.model, vocabulary).map_err(shape)?;
    let params = ParamSet::zeros(model.layout(), Device::Cpu);
    checkpoint.load(MODEL, &params)?;
    let teacher = ParamSet::zeros(&model.layout().averaged(), Device::Cpu);
    checkpoint.load(TEACHER, &teacher)?;
    params.copy_prefix_from(teacher.flat());
    let values = flat(params.flat()).map_err(EngineError::from)?;
    TensorFile::of_layout(model.layout())?.write(&folder.join(MODEL), values, &Stop::default())?;
    let parameters = model.layout().n_parameters();
    write_json(&folder.join("config.json"), &config(state, &model))?;
    write_bytes(&folder.join("README.md"), card::render(state, &model).as_bytes())?;
    Ok(parameters)
}

/// Names, one a line.
fn lines(file: &str, names: &[String]) -> Result<String, CheckpointError> {
    if let Some(name) = names.iter().find(|name| name.contains(['\n', '\r'])) {
        return Err(CheckpointError::Damaged {
            path: file.into(),
            what: format!("the name `{}` has a line break", name.escape_default()),
        });
    }
    Ok(names.iter().flat_map(|name| [name, "\n"]).collect())
}

/// `config.json`: the keys of `transformers` where it has them, the components' own configuration beside them.
fn config(state: &State, model: &Jepa) -> Value {
    let chosen = &state.config.model;
    let mut fields = json!({
        "architectures": ["SyncyteJepa"],
        "model_type": "syncyte-jepa",
        "torch_dtype": "float32",
        "vocab_size": state.vocabulary.genes.len(),
        "layer_norm_eps": NORM_EPS,
        "initializer_range": INIT_SD,
        "encoder": chosen.encoder,
        "perturbation": chosen.perturbation,
        "predictor": chosen.predictor,
        "pointer": chosen.pointer,
        "residual": chosen.residual,
        "num_targets": state.vocabulary.targets.len(),
        "num_contexts": state.vocabulary.contexts.len(),
        "num_kinds": state.vocabulary.kinds.len(),
        "input_values": card::input(state),
        "pooling": "mean",
        "syncyte_version": env!("CARGO_PKG_VERSION"),
        "step": state.step,
        "config_hash": state.config_hash,
        "data_hash": state.data_hash,
        "split_hash": state.split_hash,
        "parameter_hash": state.parameter_hash,
    });
    if let Value::Object(fields) = &mut fields {
        fields.extend(model.encoder.export());
    }
    fields
}

#[cfg(test)]
mod tests;
