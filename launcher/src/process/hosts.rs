//! A host file: one machine a line, `name [slots=N]`, `#` starts a comment. It is Open MPI's own format, read here so
//! that a mistake is named before anything starts.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::exit::usage;

/// The machines of a run.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// The file.
    pub(crate) path: PathBuf,
    /// Ranks that each machine takes, in order.
    pub(crate) slots: Vec<usize>,
}

impl Hosts {
    /// Reads a host file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|error| usage(format!("host file {}: {error}", path.display())))?;
        // Absolute, since the launched process may change its folder.
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        let slots = parse(&text).map_err(|message| usage(format!("host file {}: {message}", path.display())))?;
        Ok(Self { path, slots })
    }
}

fn parse(text: &str) -> Result<Vec<usize>, String> {
    let mut names = HashSet::new();
    let mut slots = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let at = |message: String| format!("line {}: {message}", number + 1);
        if !names.insert(name) {
            return Err(at(format!("{name} is listed twice; give it more slots instead")));
        }
        let mut count = 1;
        for word in words {
            let value = word.strip_prefix("slots=").and_then(|value| value.parse().ok()).filter(|&value| value > 0);
            count = value.ok_or_else(|| at(format!("'{word}' is not understood; expected `name slots=N`, N ≥ 1")))?;
        }
        slots.push(count);
    }
    if slots.is_empty() { Err("no host in it; expected lines `name slots=N`".into()) } else { Ok(slots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_slots_and_comments() {
        assert_eq!(parse("# rack 1\nnode1 slots=8\n\nnode2 slots=4 # half\nnode3\n"), Ok(vec![8, 4, 1]));
    }

    #[test]
    fn names_the_line_at_fault() {
        assert!(parse("node1\nnode2 8").unwrap_err().contains("line 2: '8' is not understood"));
        assert!(parse("node1 slots=0").unwrap_err().contains("slots=0"));
        assert!(parse("node1\nnode1").unwrap_err().contains("listed twice"));
        assert!(parse("# nothing\n").unwrap_err().contains("no host"));
    }
}
