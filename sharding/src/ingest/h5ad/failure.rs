//! What the HDF5 library's errors mean, and what can be done about each.
//!
//! Guarantee: every class of error has a sentence of its own: locked, no locks on this file system, left open, filter
//! missing, chunk damaged, cut off, not HDF5, not allowed, not there, a failing file system. What belongs to none is
//! told in the library's words.

use std::path::Path;

use crate::ingest::error::IngestError;

/// A class of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Locked,
    NoLocks,
    LeftOpen,
    FilterMissing,
    ChunkDamaged,
    CutOff,
    NotHdf5,
    Denied,
    Absent,
    FileSystem,
    Other,
}

// What the system calls the reasons; the numbers are Linux's.
const DENIED: [i32; 2] = [1, 13];
const ABSENT: i32 = 2;
const HELD: i32 = 11;
const NO_LOCKS: [i32; 4] = [37, 38, 95, 524];
const FILE_SYSTEM: [i32; 8] = [5, 103, 107, 110, 112, 113, 116, 121];

impl Cause {
    /// The class of an error, by all that the library says of it.
    fn of(said: &str) -> Self {
        let says = |text: &str| said.contains(text);
        let errno = errno(said);
        let is = |numbers: &[i32]| errno.is_some_and(|errno| numbers.contains(&errno));
        if says("lock file") || says("flock") {
            return if is(&NO_LOCKS) { Self::NoLocks } else { Self::Locked };
        }
        if says("consistency flags") || says("already open for write") {
            return Self::LeftOpen;
        }
        if says("filter") && (says("not registered") || says("not available") || says("find filter")) {
            return Self::FilterMissing;
        }
        if is(&FILE_SYSTEM) {
            return Self::FileSystem;
        }
        if is(&DENIED) {
            return Self::Denied;
        }
        if is(&[ABSENT]) {
            return Self::Absent;
        }
        if is(&[HELD]) {
            return Self::Locked;
        }
        if says("filter returned failure") || says("inflate") || says("checksum") {
            return Self::ChunkDamaged;
        }
        if says("truncated file") || says("addr overflow") || says("past end of") || says("file read failed") {
            return Self::CutOff;
        }
        if says("file signature not found") || says("not an HDF5 file") {
            return Self::NotHdf5;
        }
        Self::Other
    }

    /// What is wrong and what would be right; none where only the library's words say it.
    fn explained(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Locked => (
                "the file is locked: another program holds it open for writing",
                "close that program (a notebook, a kernel that was left running) and try again; if it only reads, or is \
                 long gone, set HDF5_USE_FILE_LOCKING=FALSE",
            ),
            Self::NoLocks => (
                "its file system cannot lock files, as HDF5 wants to",
                "set HDF5_USE_FILE_LOCKING=FALSE, or copy the file to a local disk",
            ),
            Self::LeftOpen => (
                "a program that had it open for writing did not close it",
                "close the program; if it died, run h5clear -s FILE (HDF5's tools) and check the file, or take another \
                 copy",
            ),
            Self::FilterMissing => (
                "it is compressed by an HDF5 filter that is not read",
                "write the file anew in Python: import hdf5plugin, anndata; \
                 anndata.read_h5ad(FILE).write_h5ad(NEW, compression='gzip')",
            ),
            Self::ChunkDamaged => ("compressed data in it are damaged", "copy or download it again"),
            Self::CutOff => ("the file looks truncated or damaged", "copy or download it again"),
            Self::NotHdf5 => (
                "not an h5ad: the file is not HDF5",
                "give an .h5ad file, an AnnData zarr store (folder or .zip) or a Matrix Market folder",
            ),
            Self::Denied => ("permission to read it is denied", "ask its owner, or chmod +r it"),
            Self::Absent => ("there is no such file", "check the path"),
            Self::FileSystem => (
                "its file system failed while it was read",
                "try again once the disk or network share answers, or copy the file to a local disk",
            ),
            Self::Other => return None,
        })
    }
}

/// The system's number of the reason, where the library passes it on.
fn errno(said: &str) -> Option<i32> {
    let number = said.split("errno = ").nth(1)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// All that the library says of an error, from the call down to the reason.
fn words(error: &hdf5::Error) -> String {
    let frames = error.stack().map(|stack| stack.iter().filter_map(hdf5::ErrorFrame::detail).collect::<Vec<_>>());
    frames.filter(|frames| !frames.is_empty()).map_or_else(|| error.to_string(), |frames| frames.join("; "))
}

/// An error about a part of a file, in words, with the way out where it is known.
pub(super) fn said(error: hdf5::Error) -> String {
    match Cause::of(&words(&error)).explained() {
        Some((what, fix)) => format!("{what} ({error}); {fix}"),
        None => error.to_string(),
    }
}

/// An error on opening a file. `signed` says whether it begins as HDF5 does.
pub(super) fn unopened(path: &Path, signed: bool, error: &hdf5::Error) -> IngestError {
    of_cause(path, signed, &words(error), &error.to_string())
}

/// The system's refusal to open a file.
pub(super) fn refused(path: &Path, error: std::io::Error) -> IngestError {
    match error.raw_os_error().map(|errno| Cause::of(&format!("errno = {errno}"))) {
        Some(cause @ (Cause::Denied | Cause::FileSystem)) => unreadable(path, cause, &error.to_string()),
        _ => IngestError::io(path, error),
    }
}

fn of_cause(path: &Path, signed: bool, words: &str, message: &str) -> IngestError {
    match Cause::of(words) {
        Cause::NotHdf5 | Cause::Other if !signed => {
            let (what, fix) = Cause::NotHdf5.explained().unwrap_or_default();
            IngestError::Unrecognised { path: path.into(), what: what.into(), fix: fix.into() }
        }
        Cause::CutOff | Cause::ChunkDamaged | Cause::NotHdf5 | Cause::Other => {
            IngestError::Truncated { path: path.into(), what: message.into() }
        }
        cause => unreadable(path, cause, message),
    }
}

fn unreadable(path: &Path, cause: Cause, message: &str) -> IngestError {
    let (what, fix) = cause.explained().unwrap_or_default();
    IngestError::Unreadable { path: path.into(), what: format!("{what} ({message})"), fix: fix.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sentences of the library (1.8 to 1.14) and what they must be taken for.
    #[test]
    fn every_class_of_errors_has_a_sentence_of_its_own() {
        let table = [
            ("unable to lock file, errno = 11, error message = 'Resource temporarily unavailable'", Cause::Locked),
            ("unable to flock file, errno = 11, error message = 'Resource temporarily unavailable'", Cause::Locked),
            ("unable to lock file, errno = 37, error message = 'No locks available'", Cause::NoLocks),
            ("unable to lock file, errno = 38, error message = 'Function not implemented'", Cause::NoLocks),
            ("unable to lock file, errno = 95, error message = 'Operation not supported'", Cause::NoLocks),
            (
                "file is already open for write (may use <h5clear file> to clear file consistency flags)",
                Cause::LeftOpen,
            ),
            ("required filter 'blosc2' is not registered", Cause::FilterMissing),
            ("filter returned failure during read", Cause::ChunkDamaged),
            ("inflate() failed", Cause::ChunkDamaged),
            ("truncated file: eof = 200, sblock->base_addr = 0, stored_eof = 400", Cause::CutOff),
            ("addr overflow, addr = 4096, size = 512, eoa = 1024", Cause::CutOff),
            ("file signature not found", Cause::NotHdf5),
            ("unable to open file: name = 'a.h5ad', errno = 13, error message = 'Permission denied'", Cause::Denied),
            ("unable to open file: name = 'a.h5ad', errno = 2, error message = 'No such file'", Cause::Absent),
            (
                "file read failed: filename = 'a.h5ad', errno = 5, error message = 'Input/output error'",
                Cause::FileSystem,
            ),
            (
                "file read failed: filename = 'a.h5ad', errno = 116, error message = 'Stale file handle'",
                Cause::FileSystem,
            ),
            ("can't locate ID", Cause::Other),
        ];
        let mut sentences = std::collections::HashMap::new();
        for (said, cause) in table {
            assert_eq!(Cause::of(said), cause, "{said}");
            if let Some((what, _)) = cause.explained() {
                assert_eq!(*sentences.entry(what).or_insert(cause), cause, "{what}");
            }
        }
        assert_eq!(sentences.len(), 10);
    }

    #[test]
    fn a_refusal_of_the_system_says_what_to_do() {
        let path = Path::new("a.h5ad");
        let message = refused(path, std::io::Error::from_raw_os_error(13)).to_string();
        assert!(
            message.starts_with("a.h5ad: permission to read it is denied") && message.contains("chmod"),
            "{message}"
        );
        let message = refused(path, std::io::Error::from_raw_os_error(116)).to_string();
        assert!(message.contains("file system failed") && message.contains("local disk"), "{message}");
        assert!(refused(path, std::io::Error::from_raw_os_error(2)).to_string().contains("No such file"));
    }
}
