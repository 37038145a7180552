//! NVIDIA's own library, as far as it goes without a GPU, and libraries that are not NCCL.

mod communicator;
mod stand_in;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::interface::{Code, INVALID_USAGE, UNHANDLED_CUDA};
use super::library::asked;
use super::*;

/// Past the test harness, which would swallow what a passing test prints.
fn skip(reason: &str) {
    writeln!(std::io::stderr(), "skipped: {reason}").ok();
}

/// The environment of the Python peers: that of `$SYNCYTE_PEERS_PYTHON`, or what `scripts/setup.sh --test` makes.
fn peers() -> Option<PathBuf> {
    if let Some(python) = std::env::var_os("SYNCYTE_PEERS_PYTHON") {
        return Some(Path::new(&python).parent()?.parent()?.to_owned());
    }
    let cache = std::env::var_os("SYNCYTE_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/syncyte")))?;
    Some(cache.join("peers-venv"))
}

fn wheel() -> Option<PathBuf> {
    let pythons = peers()?.join("lib").read_dir().ok()?;
    let library = |python: PathBuf| python.join("site-packages/nvidia/nccl/lib/libnccl.so.2");
    pythons.filter_map(|entry| Some(library(entry.ok()?.path()))).find(|path| path.is_file())
}

/// The wheel's NCCL. Continuous integration has one, or fails.
fn nccl() -> Option<Library> {
    let Some(path) = wheel() else {
        assert!(std::env::var_os("CI").is_none(), "no NCCL among the Python peers");
        skip("NCCL: none among the Python peers (scripts/setup.sh --test installs it)");
        return None;
    };
    Some(Library::open(Some(&path)).unwrap_or_else(|error| panic!("{error}")))
}

fn has_driver() -> bool {
    Path::new("/dev/nvidiactl").exists()
}

fn start(library: &Library, id: UniqueId, rank: usize, world: usize) -> Result<Communicator, NcclError> {
    let deadline = Instant::now() + Duration::from_mins(1);
    Communicator::start(library, id, rank, world, Config::default(), deadline)
}

/// That a start failed for want of a driver, in NCCL's words and ours.
fn assert_no_driver(error: &NcclError, rank: &str) {
    assert!(matches!(error, NcclError::Call { code: UNHANDLED_CUDA, .. }), "{error}");
    let message = error.to_string();
    for part in [
        &format!("{rank}: ncclCommInitRankConfig failed with code 1 (unhandled cuda error"),
        "CUDA driver version is insufficient for CUDA runtime version",
        "there is no NVIDIA driver",
    ] {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

/// What ending a group says on this thread: that none is open.
fn end_of_group(library: &Library) -> Code {
    // SAFETY: takes nothing, and acts on this thread's group only.
    unsafe { (library.functions.group_end)() }
}

#[test]
fn the_library_that_libtorch_uses_has_every_function() {
    let Some(library) = nccl() else { return };
    assert_eq!((library.version().major, library.version().minor), (2, 28), "{}", library.version());
    assert_eq!(library.path().canonicalize().unwrap(), wheel().unwrap().canonicalize().unwrap());
}

#[test]
fn what_is_loaded_already_is_found_without_a_path() {
    let Some(library) = nccl() else { return };
    let again = Library::open(None).unwrap();
    assert_eq!((again.path(), again.version()), (library.path(), library.version()));
    // The same functions at the same addresses: there is one NCCL in the process.
    assert_eq!(again.functions.all_reduce as usize, library.functions.all_reduce as usize);
}

#[test]
fn a_second_nccl_is_refused_and_both_are_named() {
    let Some(library) = nccl() else { return };
    // Some library that can be opened, under another name than the one that is open.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libm = maps.lines().filter_map(|line| Some(&line[line.find('/')?..])).find(|path| path.contains("/libm.so"));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("libnccl.so.2");
    std::fs::copy(libm.unwrap(), &other).unwrap();
    let error = Library::open(Some(&other)).unwrap_err();
    assert!(matches!(&error, NcclError::OtherLoaded { asked, loaded } if *asked == other && loaded == library.path()));
    assert!(error.to_string().contains("SYNCYTE_NCCL"), "{error}");
}

#[test]
fn every_id_is_new() {
    let Some(library) = nccl() else { return };
    let ids: Vec<_> = (0..4).map(|_| library.unique_id().unwrap()).collect();
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(id.0.len(), 128);
        assert!(id.0.iter().any(|&byte| byte != 0) && !ids[..at].contains(id), "{ids:?}");
    }
}

#[test]
fn a_start_without_a_driver_says_so_in_time() {
    let Some(library) = nccl() else { return };
    let id = library.unique_id().unwrap();
    if has_driver() {
        let alone = start(&library, id, 0, 1).unwrap();
        assert_eq!((alone.device().unwrap(), alone.async_error().unwrap()), (0, Progress::Ready));
        alone.finalize().unwrap();
        return;
    }
    // Twice on one thread: the first leaves nothing behind that would put off the second for ever.
    for _ in 0..2 {
        assert_no_driver(&start(&library, id, 0, 1).unwrap_err(), "rank 0 of 1");
        assert_eq!(end_of_group(&library), INVALID_USAGE);
    }
}

#[test]
fn both_of_two_ranks_say_that_there_is_no_driver() {
    let Some(library) = nccl() else { return };
    if has_driver() {
        skip("NCCL: two ranks without a driver: there is one here");
        return;
    }
    let id = library.unique_id().unwrap();
    std::thread::scope(|scope| {
        let ranks = [0, 1].map(|rank| {
            (
                rank,
                scope.spawn({
                    let library = &library;
                    move || start(library, id, rank, 2)
                }),
            )
        });
        for (rank, started) in ranks {
            assert_no_driver(&started.join().unwrap().unwrap_err(), &format!("rank {rank} of 2"));
        }
    });
}

#[test]
fn a_library_that_is_not_nccl_is_refused_by_the_function_it_lacks() {
    let error = Library::open(Some(Path::new("libm.so.6"))).unwrap_err();
    assert_eq!(error.to_string(), "libm.so.6 has no ncclGetVersion: it is not NCCL");
}

#[test]
fn an_nccl_that_is_too_old_is_refused_with_its_version() {
    let (path, version) = (PathBuf::from("libnccl.so.2"), Some(Version::of_code(21_003)));
    let error = NcclError::MissingSymbol { path, symbol: "ncclCommFinalize", version };
    let expected = "libnccl.so.2 has no ncclCommFinalize: it is NCCL 2.10.3, and 2.14 or later is needed";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_path_that_does_not_exist_is_named_with_what_installs_nccl() {
    let path = Path::new("/nowhere/libnccl.so.2");
    let message = Library::open(Some(path)).unwrap_err().to_string();
    assert!(message.contains("/nowhere/libnccl.so.2") && message.contains("scripts/setup.sh --gpu"), "{message}");
}

#[test]
fn the_argument_goes_before_the_variable_and_an_empty_variable_asks_for_nothing() {
    let path = |name: &str| Some(PathBuf::from(name));
    assert_eq!(asked(Some(Path::new("a")), Some("b".into())), path("a"));
    assert_eq!(asked(None, Some("b".into())), path("b"));
    assert_eq!((asked(None, Some("".into())), asked(None, None)), (None, None));
}

#[test]
fn versions_are_read_as_the_header_writes_them() {
    let named = |code| Version::of_code(code).to_string();
    assert_eq!([2708, 2804, 20_908, 22_809, 23_007].map(named), ["2.7.8", "2.8.4", "2.9.8", "2.28.9", "2.30.7"]);
}
