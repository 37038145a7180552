//! Programs of the machine: where they are and which version they say they are.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where `name` lies on the search path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// What `name arguments…` prints on standard output; `None` when it is missing or fails.
pub(crate) fn output(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(find(name)?).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first line that `name --version` prints.
pub(crate) fn version(name: &str) -> Option<String> {
    output(name, &["--version"])?.lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_on_the_path_and_nothing_else() {
        assert!(find("sh").is_some_and(|file| file.ends_with("sh")));
        assert_eq!(find("no-such-program-anywhere"), None);
        assert_eq!(output("sh", &["-c", "echo out; exit 1"]), None);
        assert_eq!(output("sh", &["-c", "echo out"]).as_deref(), Some("out\n"));
    }
}
