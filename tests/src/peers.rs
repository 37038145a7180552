//! What may be there to test with: Python with its libraries, and real cells.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Outcome, Running};
use crate::{skip, workspace_root};

const LIMIT: Duration = Duration::from_mins(2);

/// The interpreter with anndata: `$SYNCYTE_PEERS_PYTHON`, or the one that `scripts/setup.sh --test` installs.
/// Where it is absent, says that `what` is skipped.
///
/// # Panics
/// When it is absent and `$SYNCYTE_REQUIRE_PEERS` promises it.
pub fn python(what: &str) -> Option<PathBuf> {
    let installed = || {
        let cache = std::env::var_os("SYNCYTE_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/syncyte")))?;
        Some(cache.join("peers-venv/bin/python"))
    };
    let path = std::env::var_os("SYNCYTE_PEERS_PYTHON").map(PathBuf::from).or_else(installed);
    let path = path.filter(|path| path.is_file());
    if path.is_none() {
        assert!(
            std::env::var_os("SYNCYTE_REQUIRE_PEERS").is_none(),
            "{what}: the Python peers are promised and absent"
        );
        skip(&format!("{what}: no Python peers (scripts/setup.sh --test installs them)"));
    }
    path
}

/// Runs a script of `tests/peers`.
///
/// # Panics
/// When the interpreter cannot be started.
pub fn script(python: &Path, name: &str, arguments: &[&Path]) -> Outcome {
    let mut command = Command::new(python);
    command.arg(workspace_root().join("tests/peers").join(name)).args(arguments);
    Running::of(command).wait(LIMIT)
}

/// A file of the real data: below `$SYNCYTE_TEST_DATA`, or `../shared/data` of the workspace.
/// Where there is no such folder, says that `what` is skipped.
///
/// # Panics
/// When `$SYNCYTE_TEST_DATA` promises real data and the file is not there.
pub fn test_data(file: &str, what: &str) -> Option<PathBuf> {
    let promised = std::env::var_os("SYNCYTE_TEST_DATA").map(PathBuf::from);
    let root = promised.clone().unwrap_or_else(|| workspace_root().join("../shared/data"));
    let path = root.join(file);
    if !path.exists() {
        assert!(promised.is_none(), "{what}: {} is promised and absent", path.display());
        skip(&format!("{what}: no test data {file}"));
        return None;
    }
    Some(path)
}
