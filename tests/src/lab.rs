//! A folder with a tiny planted store, its split and a configuration that trains on them in seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{GLANCE, LIMIT, Outcome, Running, run, start_in};

const MODEL: &str = "
[model.encoder]
hidden = [32]
tokens = 4
width = 16
depth = 1
heads = 2

[model.perturbation]
width = 16

[model.predictor]
depth = 1
heads = 2

[engine]
# Threads that share such small work wait for each other, and where other programs run, they mostly wait.
threads = 1
monitor_every = 25

[finetune]
steps = 10
hidden = 16

[diffusion]
steps = 10
hidden = [32]
";

/// The folder; it goes with everything in it when the test ends.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    /// Makes the store `cells.zarr`, the split `split.json` and the configuration `run.toml`.
    ///
    /// # Panics
    /// When one of them cannot be made.
    pub fn new() -> Self {
        let lab = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        lab.synth("cells.zarr", &["--cells", "1200", "--genes", "120", "--perturbations", "12"]).assert_code(0);
        lab.split("cells.zarr", "cells", "split.json").assert_code(0);
        let text = format!(
            "[run]\ndir = \"{}\"\n[data]\nstore = \"{}\"\nsplit = \"{}\"\nstreams = 8\nbatch_size = 64\n{MODEL}",
            lab.path("run").display(),
            lab.path("cells.zarr").display(),
            lab.path("split.json").display()
        );
        fs::write(lab.path("run.toml"), text).expect("a configuration to be written");
        lab
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a planted store.
    pub fn synth(&self, name: &str, words: &[&str]) -> Outcome {
        let path = self.path(name);
        run(["store", "synth"].map(Path::new).into_iter().chain([path.as_path()]).chain(words.iter().map(Path::new)))
    }

    /// Splits a store.
    pub fn split(&self, store: &str, scheme: &str, out: &str) -> Outcome {
        let (store, out) = (self.path(store), self.path(out));
        run(["store".as_ref(), "split".as_ref(), store.as_os_str(), "--scheme".as_ref(), scheme.as_ref()]
            .into_iter()
            .chain(["--out".as_ref(), out.as_os_str()]))
    }

    /// Starts `command` (with further words after a space) on `ranks` ranks, with the run folder `name` and
    /// further `key=value` settings.
    pub fn start(&self, ranks: usize, command: &str, name: &str, settings: &[&str]) -> Running {
        self.start_in(&[], ranks, command, name, settings)
    }

    /// As [`Lab::start`], with further variables in the environment.
    pub fn start_in(
        &self,
        environment: &[(&str, &str)],
        ranks: usize,
        command: &str,
        name: &str,
        settings: &[&str],
    ) -> Running {
        let launch = ["launch", "-n", &ranks.to_string(), "--", "syncyte"].map(str::to_owned);
        let launch = launch.into_iter().filter(|_| ranks > 1);
        start_in(environment, launch.chain(self.words(command, name, settings)))
    }

    /// The words of `command` with the lab's configuration, the run folder `name` and further settings.
    pub(crate) fn words(&self, command: &str, name: &str, settings: &[&str]) -> Vec<String> {
        let mut words = vec!["--json".to_owned()];
        words.extend(command.split(' ').map(str::to_owned));
        words.extend(["--config".into(), self.path("run.toml").display().to_string()]);
        words.extend(["--set".into(), format!("run.dir={}", self.path(name).display())]);
        for setting in settings {
            words.extend(["--set".into(), (*setting).to_owned()]);
        }
        words
    }

    /// As [`Lab::start`], to the end.
    pub fn train(&self, ranks: usize, command: &str, name: &str, settings: &[&str]) -> Outcome {
        self.start(ranks, command, name, settings).to_end()
    }

    /// Waits until a run has logged `step`.
    ///
    /// # Panics
    /// When it ends before, or does not get there in four minutes.
    pub fn wait_for_step(&self, running: &mut Running, name: &str, step: u64) {
        let (log, began) = (self.path(name).join("metrics.jsonl"), Instant::now());
        while (fs::read_to_string(&log).unwrap_or_default().matches('\n').count() as u64) < step {
            assert!(running.is_running(), "{name} ended before step {step}: {}", running.stderr());
            assert!(began.elapsed() < LIMIT, "{name} does not reach step {step}: {}", running.stderr());
            std::thread::sleep(GLANCE);
        }
    }

    /// Names of the step folders of a run, oldest first.
    pub fn checkpoints(&self, name: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(name).join("checkpoints")).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
        found.sort();
        found
    }

    /// Asserts that a refused run left nothing in its folder but logs.
    ///
    /// # Panics
    /// When something else is there.
    pub fn assert_nothing_in(&self, name: &str) {
        let entries = fs::read_dir(self.path(name)).into_iter().flatten().flatten();
        let left: Vec<_> = entries.map(|entry| entry.file_name()).filter(|name| name != "log").collect();
        assert!(left.is_empty(), "a refused run left {left:?}");
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// The lines of `metrics.jsonl` of a run; a last line that is half written is left out.
///
/// # Panics
/// When a whole line is not JSON.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// The loss of every step of a run, asserting that steps 1 to `steps` are there once each and in order.
///
/// # Panics
/// When a step is missing, repeated or has no finite loss.
pub fn losses(run: &Path, steps: u64) -> Vec<f64> {
    let lines = metrics(run);
    let found: Vec<_> = lines.iter().filter_map(|line| line["step"].as_u64()).collect();
    assert_eq!(found, (1..=steps).collect::<Vec<_>>(), "steps in {}", run.display());
    let losses: Vec<_> = lines.iter().map(|line| line["loss"].as_f64().unwrap_or(f64::NAN)).collect();
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    losses
}
