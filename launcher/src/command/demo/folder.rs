//! The folder of a demo: which files lie where, and that nothing of anybody else's is overwritten.
//!
//! Guarantee: a folder is removed only where a demo made it, and without being asked only where that demo did not come to
//! its end: until then the folder holds a mark, which the demo has locked while it runs.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syncyte_sharding::split::Split;
use syncyte_sharding::store::CellStore;
use syncyte_trainer::config::Config;
use toml::{Table, Value};

use super::fit;
use super::stage::StageLog;
use crate::exit::{data, usage};

/// The configuration that all stages share; its presence marks a folder as a demo's.
const CONFIG: &str = "demo.toml";
/// There while a demo has not come to its end.
const UNFINISHED: &str = ".demo-unfinished";
const TEMPLATE: &str = include_str!("../../../../configs/demo.toml");

/// A new folder with its configuration.
pub(crate) struct DemoFolder {
    root: PathBuf,
    config: Config,
    /// The mark, locked for as long as it is open.
    _unfinished: File,
}

impl DemoFolder {
    /// Makes the folder and writes the configuration with its paths and overrides.
    pub(crate) fn create(out: &Path, force: bool, overrides: &[String]) -> Result<Self> {
        let root = std::path::absolute(out).with_context(|| out.display().to_string())?;
        // Everything that can be wrong is checked before an earlier demo is removed.
        let text = configuration(&root)?;
        let config = Config::parse(&text, CONFIG, overrides)?;
        make_way(&root, force)?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let mark = root.join(UNFINISHED);
        let unfinished = File::create(&mark).with_context(|| mark.display().to_string())?;
        // A file system without locks only loses the warning against a second demo in the same folder.
        unfinished.try_lock().ok();
        let folder = Self { root, config, _unfinished: unfinished };
        folder.save()?;
        Ok(folder)
    }

    fn save(&self) -> Result<()> {
        let header = "# Made by `syncyte demo` for all its stages; each can be run again with it.\n\n";
        let path = self.config();
        fs::write(&path, format!("{header}{}", self.config.to_toml()?)).with_context(|| path.display().to_string())
    }

    /// Fits the configuration to the cells and says what was changed.
    pub(crate) fn fit(&mut self, store: &CellStore, split: &Split, ranks: u32) -> Result<()> {
        let said = fit::fit(&mut self.config, store, split, ranks as usize).map_err(data)?;
        for line in &said {
            eprintln!("   {line}");
        }
        if said.is_empty() { Ok(()) } else { self.save() }
    }

    /// Marks the demo as finished: from now on it is replaced only when that is asked for.
    pub(crate) fn finish(&self) -> Result<()> {
        let mark = self.root.join(UNFINISHED);
        fs::remove_file(&mark).with_context(|| mark.display().to_string())
    }

    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.root.join(CONFIG)
    }

    /// The cell store.
    pub(crate) fn store(&self) -> PathBuf {
        store_in(&self.root)
    }

    /// The split.
    pub(crate) fn split(&self) -> PathBuf {
        split_in(&self.root)
    }

    /// The log that a training stage writes, and its number of steps.
    pub(crate) fn log_of(&self, stage: &str) -> StageLog {
        let (file, steps) = match stage {
            "finetune" => ("finetune/metrics.jsonl", self.config.finetune.steps),
            "diffuse" => ("diffuse/metrics.jsonl", self.config.diffusion.steps),
            _ => ("metrics.jsonl", self.config.engine.steps),
        };
        StageLog { path: self.root.join(file), steps }
    }
}

fn store_in(root: &Path) -> PathBuf {
    root.join("data.zarr")
}

fn split_in(root: &Path) -> PathBuf {
    root.join("split.json")
}

/// The built-in configuration with the paths of this folder.
fn configuration(root: &Path) -> Result<String> {
    let mut table: Table = toml::from_str(TEMPLATE).context("the built-in configuration of the demo")?;
    for (section, key, path) in
        [("run", "dir", root.to_owned()), ("data", "store", store_in(root)), ("data", "split", split_in(root))]
    {
        let path =
            path.to_str().ok_or_else(|| usage(format!("{} is not UTF-8; choose another --out", path.display())))?;
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.to_owned(), Value::String(path.to_owned()));
        }
    }
    Ok(toml::to_string(&table)?)
}

/// Sees to it that `root` is free: removes a demo that did not come to its end, an earlier one if that was asked for, and
/// nothing else ever.
fn make_way(root: &Path, force: bool) -> Result<()> {
    let taken = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some()) || root.is_file();
    if !taken {
        return Ok(());
    }
    let name = root.display();
    let mark = root.join(UNFINISHED);
    if !root.join(CONFIG).is_file() && !mark.is_file() {
        return Err(usage(format!("{name} is not empty and not a demo's; choose another --out")));
    }
    if let Ok(unfinished) = File::open(&mark) {
        if matches!(unfinished.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(usage(format!("a demo is running in {name}; wait for its end or choose another --out")));
        }
        eprintln!("   replacing what a demo that did not come to its end left in {name}");
    } else if !force {
        return Err(usage(format!("{name} holds an earlier demo; replace it with --force or choose another --out")));
    }
    fs::remove_dir_all(root).with_context(|| format!("cannot remove {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_files_of_the_folder_and_is_valid() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("demo");
        let folder = DemoFolder::create(&out, false, &["engine.steps=7".to_owned()]).unwrap();
        let config = Config::load(&folder.config(), &[]).unwrap();
        assert_eq!(config.run.dir, out);
        assert_eq!((config.data.store, config.data.split), (folder.store(), folder.split()));
        assert_eq!(folder.log_of("pretrain").steps, 7);
    }

    #[test]
    fn only_an_earlier_demo_is_replaced_and_only_when_asked() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("demo");
        DemoFolder::create(&out, false, &[]).unwrap().finish().unwrap();
        fs::write(out.join("old"), "").unwrap();
        assert!(DemoFolder::create(&out, false, &[]).is_err());
        assert!(DemoFolder::create(&out, true, &["engine.stops=7".to_owned()]).is_err(), "a mistake removes nothing");
        assert!(out.join("old").exists());
        DemoFolder::create(&out, true, &[]).unwrap();
        assert!(!out.join("old").exists());

        // One that did not come to its end is replaced without being asked, but not while it runs.
        fs::write(out.join("half"), "").unwrap();
        let running = DemoFolder::create(&out, false, &[]).unwrap();
        assert!(!out.join("half").exists());
        let message = DemoFolder::create(&out, true, &[]).err().unwrap().to_string();
        assert!(message.contains("is running"), "{message}");
        drop(running);
        DemoFolder::create(&out, false, &[]).unwrap().finish().unwrap();
        assert!(DemoFolder::create(&out, false, &[]).is_err());

        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("thesis.tex"), "").unwrap();
        assert!(DemoFolder::create(&other, true, &[]).is_err());
        assert!(other.join("thesis.tex").exists());
    }
}
