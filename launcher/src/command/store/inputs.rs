//! The inputs of an import, with what is said of each alone: `FILE:key=value,…`, or a table of inputs in TOML.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use syncyte_sharding::ingest::{InputOptions, Keys};

use crate::exit::usage;

/// Inputs in order, and what is said of some of them alone.
pub(crate) type Inputs = (Vec<PathBuf>, BTreeMap<PathBuf, InputOptions>);

/// A table of inputs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    input: Vec<Entry>,
}

/// One input.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    path: PathBuf,
    perturbation_key: Option<String>,
    context_key: Option<String>,
    batch_key: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    unlabelled: bool,
}

/// What can be said of one input.
const KEYS: [&str; 5] = ["perturbation-key", "context-key", "batch-key", "kind", "unlabelled"];

/// Reads inputs: those of the table, then those named on the command line.
///
/// # Errors
/// When the table cannot be read, a key is unknown, or one input is named twice with different keys.
pub(crate) fn read(table: Option<&Path>, named: &[PathBuf]) -> Result<Inputs> {
    let mut entries = table.map(entries_of).transpose()?.unwrap_or_default();
    entries.extend(named.iter().map(|path| short_form(path)).collect::<Result<Vec<_>>>()?);
    let (mut paths, mut own) = (Vec::new(), BTreeMap::new());
    for entry in entries {
        let path = entry.path.clone();
        let options = entry.options();
        if let Some(other) = own.insert(path.clone(), options.clone()).filter(|other| *other != options) {
            return Err(usage(format!(
                "{} is named twice, with {other:?} and {options:?}; name it once",
                path.display()
            )));
        }
        paths.push(path);
    }
    own.retain(|_, options| *options != InputOptions::default());
    Ok((paths, own))
}

impl Entry {
    fn options(self) -> InputOptions {
        let keys = Keys { perturbation: self.perturbation_key, context: self.context_key, batch: self.batch_key };
        InputOptions { keys, kind: self.kind, unlabelled: self.unlabelled }
    }
}

/// Paths of a table are relative to its folder.
fn entries_of(table: &Path) -> Result<Vec<Entry>> {
    let text = fs::read_to_string(table).with_context(|| format!("--inputs {}", table.display()))?;
    let read: Table = toml::from_str(&text).map_err(|error| {
        usage(format!(
            "--inputs {}: {error}write a section [[input]] with path = \"FILE\" for each input, and of {} what holds for it \
             alone",
            table.display(),
            KEYS.join(", ")
        ))
    })?;
    let folder = table.parent().unwrap_or(Path::new(""));
    Ok(read.input.into_iter().map(|entry| Entry { path: folder.join(&entry.path), ..entry }).collect())
}

/// `FILE`, or `FILE:key=value,key=value` where there is no file of that whole name.
fn short_form(path: &Path) -> Result<Entry> {
    let whole = || Entry { path: path.into(), ..Entry::default() };
    let Some(text) = path.to_str().filter(|_| !path.exists()) else { return Ok(whole()) };
    let begins = |rest: &str| KEYS.iter().any(|key| rest.starts_with(key));
    let with_equals = |rest: &str| rest.contains('=') || rest == "unlabelled";
    let cut = text.rmatch_indices(':').find(|(at, _)| begins(&text[at + 1..]) || with_equals(&text[at + 1..]));
    let Some((at, _)) = cut else { return Ok(whole()) };
    let mut entry = Entry { path: text[..at].into(), ..Entry::default() };
    for setting in text[at + 1..].split(',') {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let slot = match key.trim() {
            "perturbation-key" => &mut entry.perturbation_key,
            "context-key" => &mut entry.context_key,
            "batch-key" => &mut entry.batch_key,
            "kind" => &mut entry.kind,
            "unlabelled" if value.is_empty() => {
                entry.unlabelled = true;
                continue;
            }
            _ => {
                let known = KEYS.join(", ");
                return Err(usage(format!(
                    "{text}: '{setting}' says nothing of an input; write FILE:key=value,key=value with keys of {known}, or \
                     --inputs TABLE.toml for values with commas"
                )));
            }
        };
        if value.is_empty() {
            return Err(usage(format!("{text}: '{key}' has no value; write {key}=VALUE")));
        }
        *slot = Some(value.to_owned());
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(perturbation: &str, context: Option<&str>) -> InputOptions {
        let keys = Keys { perturbation: Some(perturbation.into()), context: context.map(Into::into), batch: None };
        InputOptions { keys, ..InputOptions::default() }
    }

    #[test]
    fn what_is_said_of_one_input_alone_stands_behind_its_name_or_in_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("inputs.toml");
        fs::write(
            &table,
            "[[input]]\npath = \"one.h5ad\"\nperturbation-key = \"guide\"\ncontext-key = \"line\"\n[[input]]\npath = \
             \"/two.h5ad\"\nunlabelled = true\n",
        )
        .unwrap();
        let odd = folder.path().join("a:kind=b.h5ad");
        fs::write(&odd, "").unwrap();
        let named = ["C:/x.h5ad:perturbation-key=guide,context-key=line", "y.h5ad:unlabelled,kind=drug", "z:y.h5ad"];
        let named: Vec<PathBuf> = named.into_iter().map(PathBuf::from).chain([odd.clone()]).collect();
        let (paths, own) = read(Some(&table), &named).unwrap();
        let one = folder.path().join("one.h5ad");
        let want =
            [&one, Path::new("/two.h5ad"), Path::new("C:/x.h5ad"), Path::new("y.h5ad"), Path::new("z:y.h5ad"), &odd];
        assert_eq!(paths, want);
        assert_eq!(own[&one], keyed("guide", Some("line")));
        assert_eq!(own[Path::new("C:/x.h5ad")], keyed("guide", Some("line")));
        assert!(own[Path::new("/two.h5ad")].unlabelled);
        let y = &own[Path::new("y.h5ad")];
        assert_eq!((y.unlabelled, y.kind.as_deref()), (true, Some("drug")));
        assert_eq!(own.len(), 4);
    }

    #[test]
    fn what_says_nothing_of_an_input_is_refused_with_what_would() {
        let refused = |named: &[&str], parts: &[&str]| {
            let named: Vec<PathBuf> = named.iter().map(PathBuf::from).collect();
            let message = read(None, &named).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "`{part}` is not in {message}");
            }
        };
        refused(&["x.h5ad:perturbation=guide"], &["'perturbation=guide'", "perturbation-key, context-key"]);
        refused(&["x.h5ad:kind="], &["'kind' has no value"]);
        refused(&["x.h5ad:kind=a", "x.h5ad:kind=b"], &["x.h5ad is named twice"]);
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("inputs.toml");
        fs::write(&table, "[[input]]\npath = \"a\"\nperturbation_key = \"b\"\n").unwrap();
        let message = read(Some(&table), &[]).unwrap_err().to_string();
        assert!(message.contains("perturbation_key") && message.contains("perturbation-key, context-key"), "{message}");
    }
}
