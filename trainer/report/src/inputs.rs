//! What a run folder holds for its report.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ReportError;
use super::log::Log;
use syncyte_evaluation::benchmark::results::Results;

/// The files of a run. Only the results must be there.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Name of the run: that of its folder.
    pub(crate) name: String,
    /// The evaluation.
    pub(crate) results: Results,
    /// Pretraining log.
    pub(crate) pretraining: Option<Log>,
    /// Log of the perturbation heads.
    pub(crate) finetuning: Option<Log>,
    /// Log of the latent diffusion.
    pub(crate) diffusion: Option<Log>,
    /// Resolved configuration, as text.
    pub(crate) config: Option<String>,
    /// What the run found on its machine, as key and value.
    pub(crate) environment: Option<Vec<(String, String)>>,
}

impl Inputs {
    /// Reads a run folder.
    pub(crate) fn load(run: &Path) -> Result<Self, ReportError> {
        let path = run.join("results.json");
        if !path.is_file() {
            return Err(ReportError::MissingResults { path, run: run.into() });
        }
        Ok(Self {
            name: name(run),
            results: Results::load(&path)?,
            pretraining: Log::load(&run.join("metrics.jsonl"))?,
            finetuning: Log::load(&run.join("finetune/metrics.jsonl"))?,
            diffusion: Log::load(&run.join("diffuse/metrics.jsonl"))?,
            config: read(&run.join("config.toml"))?,
            environment: environment(&run.join("environment.json"))?,
        })
    }
}

fn name(run: &Path) -> String {
    let absolute = run.canonicalize().unwrap_or_else(|_| PathBuf::from(run));
    absolute.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<Option<String>, ReportError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReportError::Io { path: path.into(), source }),
    }
}

fn environment(path: &Path) -> Result<Option<Vec<(String, String)>>, ReportError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let value: Value =
        serde_json::from_str(&text).map_err(|source| ReportError::Environment { path: path.into(), source })?;
    let mut facts = Vec::new();
    flatten("", &value, &mut facts);
    Ok(Some(facts))
}

/// Collects the leaves of a JSON value by their path.
fn flatten(path: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, facts);
            }
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            facts.push((path.into(), items.iter().map(leaf).collect::<Vec<_>>().join(", ")));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}.{index}"), item, facts);
            }
        }
        _ => facts.push((path.into(), leaf(value))),
    }
}

fn leaf(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "not available".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_facts_have_a_path() {
        let value = serde_json::json!({"cpu": {"cores": 8, "flags": ["avx2", "fma"]}, "gpu": null});
        let mut facts = Vec::new();
        flatten("", &value, &mut facts);
        let facts: Vec<(&str, &str)> = facts.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(facts, [("cpu.cores", "8"), ("cpu.flags", "avx2, fma"), ("gpu", "not available")]);
    }
}
