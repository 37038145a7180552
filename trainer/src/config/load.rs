//! Reading a configuration: file, overrides, unknown keys.

use std::path::Path;

use sha2::{Digest, Sha256};
use toml::{Table, Value};

use super::{Config, EngineConfig, MetricsConfig};
use crate::augmentation::Augmentation;
use crate::component::Role;
use crate::encoder::Encoder;
use crate::perturbation::PerturbationEncoder;
use crate::pointer::Pointer;
use crate::predictor::Predictor;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {source}")]
    Io {
        /// File.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The text is not TOML.
    #[error("configuration {path} is not TOML: {message}")]
    Syntax {
        /// File or `--set`.
        path: String,
        /// What the parser says.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown configuration key `{key}`{}", suggestion(.nearest.as_deref()))]
    UnknownKey {
        /// The key as given.
        key: String,
        /// The nearest key there is.
        nearest: Option<String>,
    },
    /// A key that has another name now.
    #[error("configuration key `{key}` is now {now}")]
    Renamed {
        /// The key as given.
        key: String,
        /// The key of today.
        now: &'static str,
    },
    /// A value of the wrong type or outside its range.
    #[error("configuration: {0}")]
    Value(String),
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

impl Config {
    /// Reads `path` and applies overrides of the form `key=value`, in order.
    ///
    /// # Errors
    /// When the file is missing or not TOML, a key is unknown or a value does not fit.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: name.clone(), source })?;
        Self::parse(&text, &name, overrides)
    }

    /// As [`Config::load`], from text.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let syntax = |message: String| ConfigError::Syntax { path: name.to_owned(), message };
        let mut table: Table = toml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        for pair in overrides {
            set(&mut table, pair)?;
        }
        check_keys(&table, &known_keys()?)?;
        let config: Self = Value::Table(table)
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError::Value(e.to_string().trim().replace('\n', " ")))?;
        config.validate()?;
        Ok(config)
    }

    /// The resolved configuration as TOML.
    ///
    /// # Errors
    /// When a value has no TOML form.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Value(error.to_string()))
    }

    /// SHA-256 of the resolved configuration without the folder of the run, so that a copied run has the same hash, and
    /// without what a run only shows, waits for or computes on, so that a resumed run may choose that anew.
    ///
    /// # Errors
    /// As [`Config::to_toml`].
    pub fn hash(&self) -> Result<String, ConfigError> {
        let mut portable = self.clone();
        portable.run.dir = std::path::PathBuf::new();
        portable.data.store = std::path::PathBuf::new();
        portable.data.split = std::path::PathBuf::new();
        portable.metrics = MetricsConfig::default();
        let usual = EngineConfig::default();
        (portable.engine.timeout_s, portable.engine.startup_timeout_s) = (usual.timeout_s, usual.startup_timeout_s);
        (portable.engine.device, portable.engine.device_collectives) = (usual.device, usual.device_collectives);
        Ok(syncyte_fabric::hash::hex(&Sha256::digest(portable.to_toml()?.as_bytes())))
    }
}

/// Sets `a.b.c=value` in a table; a value that is not TOML by itself is taken as a string.
fn set(table: &mut Table, pair: &str) -> Result<(), ConfigError> {
    let (key, text) = pair
        .split_once('=')
        .ok_or_else(|| ConfigError::Syntax { path: format!("--set {pair}"), message: "expected key=value".into() })?;
    let value = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut path: Vec<&str> = key.trim().split('.').collect();
    let last = path.pop().unwrap_or_default();
    let mut at = table;
    for part in path {
        let entry = at.entry(part).or_insert_with(|| Value::Table(Table::new()));
        at = entry.as_table_mut().ok_or_else(|| ConfigError::UnknownKey { key: key.to_owned(), nearest: None })?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

/// Keys that had another name, with those of today.
const RENAMED: [(&str, &str); 7] = [
    ("objective.kind", "`objective.tasks`, a list: `[\"augmentation\", \"paired\"]`, or one of both"),
    ("objective.preset", "`objective.losses`, a list; docs/training.md has those of every preset"),
    ("objective.augmentation_share", "`objective.shares`, with a share for each of `objective.tasks`"),
    ("model.predictor.residual", "`model.residual`"),
    ("mask.kind", "`augmentation.kind`"),
    ("mask.keep", "`augmentation.keep`"),
    ("mask.noise", "`augmentation.noise`"),
];

/// Sections whose keys belong to the kind that is chosen, which checks them.
fn owned_sections() -> [&'static str; 5] {
    [
        <dyn Encoder as Role>::SECTION,
        <dyn PerturbationEncoder as Role>::SECTION,
        <dyn Predictor as Role>::SECTION,
        <dyn Pointer as Role>::SECTION,
        <dyn Augmentation as Role>::SECTION,
    ]
}

/// All dotted keys, read off the default configuration.
fn known_keys() -> Result<Vec<String>, ConfigError> {
    let defaults = Value::try_from(Config::default()).map_err(|error| ConfigError::Value(error.to_string()))?;
    let mut keys = Vec::new();
    collect_keys(&defaults, "", &mut keys);
    Ok(keys)
}

fn collect_keys(value: &Value, prefix: &str, keys: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                collect_keys(value, &key, keys);
            }
        }
        _ => keys.push(prefix.to_owned()),
    }
}

fn check_keys(table: &Table, known: &[String]) -> Result<(), ConfigError> {
    let mut given = Vec::new();
    collect_keys(&Value::Table(table.clone()), "", &mut given);
    let sections = owned_sections();
    for key in given {
        if let Some((_, now)) = RENAMED.iter().find(|(before, _)| *before == key) {
            return Err(ConfigError::Renamed { key, now });
        }
        let owned = sections
            .iter()
            .any(|section| key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
        if owned || known.contains(&key) {
            continue;
        }
        let nearest = known
            .iter()
            .map(|candidate| (strsim::damerau_levenshtein(&key, candidate), candidate))
            .min()
            .filter(|(distance, candidate)| *distance <= candidate.len().max(6) / 2)
            .map(|(_, candidate)| candidate.clone());
        return Err(ConfigError::UnknownKey { key, nearest });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "[run]\ndir = \"r\"\n[data]\nstore = \"s\"\nsplit = \"p\"\n";

    #[test]
    fn overrides_win_over_the_file_and_round_trip_through_toml() {
        let config = Config::parse(
            MINIMAL,
            "t",
            &["engine.steps=7".into(), "objective.tasks=[\"paired\"]".into(), "model.encoder.tokens=3".into()],
        )
        .unwrap();
        assert_eq!((config.engine.steps, config.objective.tasks[0].kind()), (7, "paired"));
        assert_eq!(config.model.encoder.settings::<crate::encoder::GeneMlp>().unwrap().tokens, 3);
        assert_eq!(Config::parse(&config.to_toml().unwrap(), "t", &[]).unwrap(), config);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = Config::parse(MINIMAL, "t", &["engine.stepz=7".into()]).unwrap_err().to_string();
        assert_eq!(error, "unknown configuration key `engine.stepz`; did you mean `engine.steps`?");
        let error = Config::parse("[data]\nbatchsize = 3\n", "t", &[]).unwrap_err().to_string();
        assert!(error.contains("did you mean `data.batch_size`"), "{error}");
    }

    #[test]
    fn keys_of_the_chosen_kind_are_known_and_old_names_tell_the_new_ones() {
        for (setting, words) in [
            ("model.encoder.tokns=3", ["`model.encoder.tokns` of kind `gene_mlp`", "did you mean `tokens`"]),
            ("model.predictor.hidden=3", ["`model.predictor.hidden` of kind `cross_attention`", "its keys"]),
            ("model.encoder.kind=e1", ["`e1` is now called", "`gene_mlp`"]),
            ("model.perturbation=p9", ["no kind `p9`", "gene_embedding"]),
            ("objective.kind=paired", ["`objective.kind` is now", "objective.tasks"]),
            ("objective.preset=s0", ["`objective.preset` is now", "objective.losses"]),
            ("mask.keep=0.5", ["`mask.keep` is now", "`augmentation.keep`"]),
            ("augmentation.keep=0", ["augmentation (poisson)", "keep = 0 must lie in (0, 1]"]),
            ("objective.losses=[\"smoth_l1\"]", ["no kind `smoth_l1`", "did you mean `smooth_l1`"]),
            ("objective.losses=[{kind=\"mse\",weigth=2}]", ["`objective.losses.weigth`", "did you mean `weight`"]),
            ("objective.shares=[1.0]", ["objective.shares has 1", "the 2 of objective.tasks"]),
            ("objective.tasks=[]", ["objective.tasks is empty", "paired"]),
        ] {
            let error = Config::parse(MINIMAL, "t", &[setting.to_owned()]).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{setting}: {error}");
        }
    }

    #[test]
    fn a_fixed_order_of_sums_cannot_be_asked_of_nccl() {
        let settings = ["engine.deterministic=true".into(), "engine.device_collectives=nccl".into()];
        let error = Config::parse(MINIMAL, "t", &settings).unwrap_err().to_string();
        assert!(error.contains("engine.device_collectives") && error.contains("\"auto\""), "{error}");
    }

    #[test]
    fn widths_that_no_layer_can_have_are_refused_by_key() {
        for setting in ["finetune.hidden=0", "finetune.hidden=-1", "diffusion.hidden=[64, 0]", "finetune.ridge=-1.0"] {
            let error = Config::parse(MINIMAL, "t", &[setting.to_owned()]).unwrap_err().to_string();
            let (key, _) = setting.split_once('=').unwrap();
            assert!(error.contains(key) && error.contains("at least"), "{error}");
        }
    }

    #[test]
    fn hash_ignores_where_the_run_lies_and_computes_and_nothing_else() {
        let base = Config::parse(MINIMAL, "t", &[]).unwrap();
        let moved = Config::parse(MINIMAL, "t", &["run.dir=elsewhere".into(), "engine.device=cpu".into()]).unwrap();
        let other = Config::parse(MINIMAL, "t", &["run.seed=1".into()]).unwrap();
        assert_eq!(base.hash().unwrap(), moved.hash().unwrap());
        assert_ne!(base.hash().unwrap(), other.hash().unwrap());
    }
}
