//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Root of the workspace.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// Path of `syncyte`: `$SYNCYTE_BIN`, or the one in the target folder of these tests, brought up to date first: an old
/// binary would keep promises that the sources have broken.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("SYNCYTE_BIN") {
            return PathBuf::from(path);
        }
        let target = target_folder();
        let path = target.join("release/syncyte");
        build(&target);
        assert!(path.is_file(), "{} was not built", path.display());
        path
    })
}

/// `TARGET` of the running test, which lies in `TARGET/release/deps`.
fn target_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(3).map_or_else(|| workspace_root().join("target"), Path::to_owned)
}

fn build(target: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", "syncyte-launcher", "--target-dir"])
        .arg(target)
        .current_dir(workspace_root())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "cargo build -p syncyte-launcher failed");
}
