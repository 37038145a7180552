//! The folder of a stage of a run: its configuration, environment and checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use tch::Device;

use super::TaskError;
use crate::checkpoint::Stage;
use crate::config::{Config, ConfigError};
use crate::environment;
use syncyte_fabric::collective::{Collective, agree};

/// Paths of a stage.
#[derive(Clone, Debug)]
pub(super) struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// Opens the folder of a stage on all ranks; rank 0 writes `config.toml` and `environment.json`,
    /// which names `device`, what the run computes on.
    ///
    /// # Errors
    /// When it already holds checkpoints and `resume` is not set, when the configuration is not that of the run
    /// to resume, or when files cannot be written.
    pub(super) fn open(
        config: &Config,
        stage: Stage,
        resume: bool,
        collective: &dyn Collective,
        git: &str,
        device: Device,
    ) -> Result<Self, TaskError> {
        let folder = Self { root: stage.folder(&config.run.dir) };
        agree(collective, || if collective.rank() == 0 { folder.prepare(config, resume) } else { Ok(()) })?;
        agree(collective, || {
            if collective.rank() != 0 {
                return Ok(());
            }
            folder.write("config.toml", &config.to_toml()?)?;
            let environment = environment::describe(collective.size(), git, device);
            folder.write("environment.json", &format!("{environment:#}\n"))
        })?;
        Ok(folder)
    }

    fn prepare(&self, config: &Config, resume: bool) -> Result<(), TaskError> {
        let used = self.checkpoints().is_dir();
        if used && !resume {
            return Err(TaskError::Invalid(format!(
                "{} already holds a run; continue it with --resume or choose another run.dir",
                self.root.display()
            )));
        }
        if used && self.root.join("config.toml").is_file() {
            let previous = Config::load(&self.root.join("config.toml"), &[])?;
            if let Some(key) = first_difference(&previous, config)? {
                return Err(TaskError::Invalid(format!(
                    "--resume needs the configuration the run started with, but {key}; see {}",
                    self.root.join("config.toml").display()
                )));
            }
        }
        fs::create_dir_all(self.checkpoints()).map_err(TaskError::io(&self.root))
    }

    /// Writes a value as JSON, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<(), TaskError> {
        self.write(name, &format!("{:#}\n", serde_json::json!(value)))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), TaskError> {
        let path = self.root.join(name);
        let beside = self.root.join(format!(".{name}.partial"));
        let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            // What went wrong is told; a file that cannot even be removed adds nothing to it.
            let _ = fs::remove_file(&beside);
        }
        written.map_err(TaskError::io(&path))
    }

    /// The folder itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of checkpoints.
    pub(super) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
}

/// The first line in which two configurations differ, as a sentence.
fn first_difference(one: &Config, two: &Config) -> Result<Option<String>, ConfigError> {
    if one.hash()? == two.hash()? {
        return Ok(None);
    }
    let (one, two) = (one.to_toml()?, two.to_toml()?);
    let mut table = "";
    for (was, is) in one.lines().zip(two.lines()) {
        if was.starts_with('[') {
            table = was;
        }
        let path_of_run = was.starts_with("dir =") || was.starts_with("store =") || was.starts_with("split =");
        if was != is && !path_of_run {
            return Ok(Some(format!("{table} has `{was}` there and `{is}` here")));
        }
    }
    Ok(Some("they differ".into()))
}
