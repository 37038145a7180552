//! Labels put into other words before they are read: left out (`--exclude`), replaced by a table (`--label-map`), or cut
//! to what a pattern catches (`--label-regex`).
//!
//! Guarantee: a label of the table is not tried on the pattern; what was asked for and touched no label is an error, or
//! said where it may be meant (single entries of a table, labels that the pattern does not match).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use regex::Regex;

use super::error::IngestError;
use crate::near;

/// Labels named in a note, at most.
const NAMED: usize = 8;

/// How labels are put into other words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewriting {
    /// A table of labels, tab-separated: old, new.
    pub map: Option<PathBuf>,
    /// A pattern. Its capture group is what is kept of a label; several that match are joined by `+`.
    pub regex: Option<String>,
    /// Labels whose cells are left out.
    pub exclude: Vec<String>,
}

/// What a label of the data became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rewritten {
    /// Read as this.
    As(String),
    /// Its cells are left out.
    Excluded,
}

impl Rewriting {
    /// Rewrites every distinct label.
    pub(super) fn apply<'a>(
        &self,
        labels: &BTreeSet<&'a str>,
        notices: &mut Vec<String>,
    ) -> Result<HashMap<&'a str, Rewritten>, IngestError> {
        let excluded = self.excluded(labels)?;
        let map = self.map.as_deref().map(read_map).transpose()?.unwrap_or_default();
        let pattern = self.regex.as_deref().map(pattern).transpose()?;
        let mut unmatched = Vec::new();
        let mut rewritten = HashMap::with_capacity(labels.len());
        let mut caught = 0;
        for &label in labels {
            let bare = label.trim();
            let now = if excluded.contains(bare) {
                Rewritten::Excluded
            } else if let Some(new) = map.get(bare) {
                Rewritten::As(new.clone())
            } else if let Some(pattern) = &pattern {
                if let Some(kept) = captured(pattern, bare) {
                    caught += 1;
                    Rewritten::As(kept)
                } else {
                    unmatched.push(bare);
                    Rewritten::As(label.to_owned())
                }
            } else {
                Rewritten::As(label.to_owned())
            };
            rewritten.insert(label, now);
        }
        self.tell_map(&map, labels, notices)?;
        if let Some(pattern) = &self.regex {
            tell_pattern(pattern, caught, &unmatched, labels, notices)?;
        }
        Ok(rewritten)
    }

    fn excluded(&self, labels: &BTreeSet<&str>) -> Result<BTreeSet<&str>, IngestError> {
        let present: BTreeSet<&str> = labels.iter().map(|label| label.trim()).collect();
        for label in &self.exclude {
            if !present.contains(label.trim()) {
                return Err(IngestError::Option {
                    option: "--exclude",
                    what: format!("no cell is labelled '{label}'"),
                    fix: format!("labels most like it: {}", some(near::by_likeness(label, present.iter().copied()))),
                });
            }
        }
        Ok(self.exclude.iter().map(|label| label.trim()).collect())
    }

    fn tell_map(
        &self,
        map: &BTreeMap<String, String>,
        labels: &BTreeSet<&str>,
        notices: &mut Vec<String>,
    ) -> Result<(), IngestError> {
        let Some(path) = &self.map else { return Ok(()) };
        let present: BTreeSet<&str> = labels.iter().map(|label| label.trim()).collect();
        let idle: Vec<&str> = map.keys().map(String::as_str).filter(|old| !present.contains(old)).collect();
        if idle.len() == map.len() {
            return Err(IngestError::Unrecognised {
                path: path.clone(),
                what: format!("none of its {} labels occurs in the data", map.len()),
                fix: format!(
                    "write one label of the data, a tab and its new name a line; the data has {}",
                    some(labels)
                ),
            });
        }
        if !idle.is_empty() {
            notices.push(format!(
                "--label-map: {} of {} labels of {} do not occur: {}",
                idle.len(),
                map.len(),
                path.display(),
                some(&idle)
            ));
        }
        Ok(())
    }
}

fn tell_pattern(
    pattern: &str,
    caught: usize,
    unmatched: &[&str],
    labels: &BTreeSet<&str>,
    notices: &mut Vec<String>,
) -> Result<(), IngestError> {
    if caught == 0 {
        return Err(IngestError::Option {
            option: "--label-regex",
            what: format!("'{pattern}' matches none of the labels: {}", some(labels)),
            fix: "write a pattern with a group (in parentheses) that catches what is to be kept".into(),
        });
    }
    if !unmatched.is_empty() {
        notices.push(format!(
            "--label-regex: {} labels do not match and stay as they are: {}",
            unmatched.len(),
            some(unmatched)
        ));
    }
    Ok(())
}

fn pattern(text: &str) -> Result<Regex, IngestError> {
    let wrong = |what: String| IngestError::Option {
        option: "--label-regex",
        what,
        fix: "write a pattern with a group (in parentheses) that catches what is to be kept, e.g. '^([^_]+)_'".into(),
    };
    let pattern = Regex::new(text).map_err(|error| wrong(error.to_string()))?;
    if pattern.captures_len() < 2 {
        return Err(wrong(format!("'{text}' has no capture group")));
    }
    Ok(pattern)
}

/// What the groups of a pattern catch of a label, if they catch anything.
fn captured(pattern: &Regex, label: &str) -> Option<String> {
    let groups = pattern.captures(label)?;
    let kept: Vec<&str> =
        groups.iter().skip(1).flatten().map(|group| group.as_str().trim()).filter(|text| !text.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join("+"))
}

/// Reads a table of two columns. Lines that are empty or begin with `#` are left out.
fn read_map(path: &Path) -> Result<BTreeMap<String, String>, IngestError> {
    let text = std::fs::read_to_string(path).map_err(|error| IngestError::io(path, error))?;
    let mut map = BTreeMap::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| IngestError::Unrecognised {
            path: path.into(),
            what: format!("line {}, '{line}', {what}", number + 1),
            fix: "write the label of the data, a tab and its new name (genes joined by +, or control)".into(),
        };
        let mut fields = line.split('\t').map(str::trim);
        let (Some(old), Some(new), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(wrong("does not have two columns, separated by a tab"));
        };
        if old.is_empty() || new.is_empty() {
            return Err(wrong("lacks a label (--exclude LABEL leaves cells out)"));
        }
        if map.insert(old.to_owned(), new.to_owned()).is_some_and(|before| before != new) {
            return Err(wrong("names a label that an earlier line names otherwise"));
        }
    }
    if map.is_empty() {
        return Err(IngestError::Unrecognised {
            path: path.into(),
            what: "it has no line".into(),
            fix: "write a label of the data, a tab and its new name a line".into(),
        });
    }
    Ok(map)
}

/// The first few, quoted.
pub(super) fn some<T: AsRef<str>>(labels: impl IntoIterator<Item = T>) -> String {
    let mut names: Vec<String> = labels.into_iter().map(|label| format!("'{}'", label.as_ref())).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(rewriting: &Rewriting, labels: &[&'static str]) -> Result<(Vec<Rewritten>, Vec<String>), String> {
        let mut notices = Vec::new();
        let found =
            rewriting.apply(&labels.iter().copied().collect(), &mut notices).map_err(|error| error.to_string())?;
        Ok((labels.iter().map(|label| found[label].clone()).collect(), notices))
    }

    fn map(text: &str) -> (tempfile::TempDir, Rewriting) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.tsv");
        std::fs::write(&path, text).unwrap();
        (folder, Rewriting { map: Some(path), ..Rewriting::default() })
    }

    #[test]
    fn labels_are_left_out_replaced_and_cut_in_this_order() {
        let (_folder, mut rewriting) = map("# old\tnew\nA_1\tGENE1\n\n63(mod)\tcontrol\nZ\tGENE9\n");
        rewriting.exclude = vec!["*".into()];
        rewriting.regex = Some("^(\\w)_(\\w)?".into());
        let (found, notices) = apply(&rewriting, &["A_1", "63(mod)", " B_2 ", "*", "C_", "odd"]).unwrap();
        let kept = |text: &str| Rewritten::As(text.into());
        let want = [kept("GENE1"), kept("control"), kept("B+2"), Rewritten::Excluded, kept("C"), kept("odd")];
        assert_eq!(found, want);
        assert!(notices[0].contains("1 of 3 labels") && notices[0].contains("'Z'"), "{notices:?}");
        assert!(notices[1].contains("1 labels do not match") && notices[1].contains("'odd'"), "{notices:?}");
    }

    #[test]
    fn what_touches_no_label_and_tables_that_are_none_are_refused_by_name() {
        let labels = ["A", "B"];
        let refused = |rewriting: &Rewriting, parts: &[&str]| {
            let message = apply(rewriting, &labels).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "`{part}` is not in {message}");
            }
        };
        refused(&Rewriting { exclude: vec!["*".into()], ..Rewriting::default() }, &["--exclude", "'*'", "'A', 'B'"]);
        refused(&Rewriting { regex: Some("x(.)".into()), ..Rewriting::default() }, &["--label-regex", "x(.)", "'A'"]);
        refused(&Rewriting { regex: Some("A".into()), ..Rewriting::default() }, &["no capture group", "parentheses"]);
        refused(&Rewriting { regex: Some("(A".into()), ..Rewriting::default() }, &["--label-regex", "unclosed group"]);
        for (text, parts) in [
            ("X\tY\n", ["map.tsv", "none of its 1 labels"]),
            ("A B\n", ["line 1, 'A B'", "tab"]),
            ("A\t\n", ["lacks a label", "--exclude"]),
            ("A\tX\nA\tY\n", ["line 2", "earlier line"]),
            ("# only\n", ["map.tsv", "no line"]),
        ] {
            let (_folder, rewriting) = map(text);
            refused(&rewriting, &parts);
        }
    }
}
