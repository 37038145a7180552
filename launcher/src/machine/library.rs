//! Shared libraries: those this process has loaded, and those it could load.

use std::path::{Path, PathBuf};

use crate::process::program;

/// The file of a library this process has loaded, by the start of its name (`libtorch_cpu.so`).
pub(crate) fn loaded(prefix: &str) -> Option<PathBuf> {
    file_in_maps(&std::fs::read_to_string("/proc/self/maps").ok()?, prefix)
}

fn file_in_maps(maps: &str, prefix: &str) -> Option<PathBuf> {
    let mut paths = maps.lines().filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])));
    let matches = |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    paths.find(matches).map(PathBuf::from)
}

/// Where the loader would find `name`: `LD_LIBRARY_PATH`, then `folders`, then the system's cache.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let search = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    std::env::split_paths(&search)
        .chain(folders.iter().cloned())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .or_else(|| in_cache(&ldconfig()?, name))
}

/// Ordinary users often lack `/sbin` on their path.
fn ldconfig() -> Option<String> {
    program::output("ldconfig", &["-p"]).or_else(|| program::output("/sbin/ldconfig", &["-p"]))
}

fn in_cache(listing: &str, name: &str) -> Option<PathBuf> {
    listing.lines().find_map(|line| {
        let (entry, path) = line.split_once(" => ")?;
        (entry.split_whitespace().next() == Some(name)).then(|| PathBuf::from(path.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_library_is_found_in_the_map() {
        let maps = "7f00-7f01 r-xp 00000000 08:01 99  /opt/torch lib/libtorch_cpu.so\n7f02-7f03 rw-p 0 00:00 0\n";
        assert_eq!(file_in_maps(maps, "libtorch_cpu.so"), Some(PathBuf::from("/opt/torch lib/libtorch_cpu.so")));
        assert_eq!(file_in_maps(maps, "libhdf5"), None);
        assert!(loaded("libc.so").is_some());
    }

    #[test]
    fn the_cache_is_searched_by_whole_name() {
        let listing =
            "\tlibcuda.so.1 (libc6,x86-64) => /usr/lib/libcuda.so.1\n\tlibcuda.so (libc6) => /usr/lib/libcuda.so\n";
        assert_eq!(in_cache(listing, "libcuda.so"), Some(PathBuf::from("/usr/lib/libcuda.so")));
        assert_eq!(in_cache(listing, "libnccl.so.2"), None);
    }
}
