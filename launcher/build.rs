//! Tells the linker where the binary finds libtorch at run time, and the binary which revision it was built from.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    runtime_path();
    revision();
}

/// Writes the search path of shared libraries into the binary: the folder that `$LIBTORCH` links to, then folders
/// beside the binary, for an installation that was moved together with its libraries. `LD_LIBRARY_PATH` goes first.
fn runtime_path() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let library = std::env::var_os("LIBTORCH").map(|root| PathBuf::from(root).join("lib/libtorch_cpu.so"));
    if let Some(library) = library {
        println!("cargo::rerun-if-changed={}", library.display());
        match library.canonicalize() {
            Ok(target) => search_in(&target.parent().unwrap_or(Path::new("/")).display().to_string()),
            Err(error) => println!("cargo::warning={}: {error}; run scripts/setup.sh", library.display()),
        }
    }
    search_in("$ORIGIN/../lib");
    search_in("$ORIGIN");
}

fn search_in(folder: &str) {
    println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{folder}");
}

/// Sets `SYNCYTE_GIT` to the short commit, with `-dirty` when tracked files differ from it, or to `unknown`.
fn revision() {
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    for room in ["sharding/src", "kernels/src", "trainer/src", "launcher/src"] {
        println!("cargo::rerun-if-changed=../{room}");
    }
    let revision = git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    println!("cargo::rustc-env=SYNCYTE_GIT={}", revision.as_deref().unwrap_or("unknown"));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).env("GIT_OPTIONAL_LOCKS", "0").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
