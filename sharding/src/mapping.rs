//! Files seen as memory: with `ingest/h5ad/native.rs` the one place of this crate where the compiler takes our word.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a file for reading.
///
/// The caller sees to it that the bytes it looks at are not written any more, and that the file keeps its length.
///
/// # Errors
/// When the system does not map it.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a mapped file must not change while its bytes are looked at. `CachedRows` is the only caller: its files
    // get their length before they are mapped and never lose it, and a chunk is looked at only after its entry in the
    // index says that its bytes were written; they are written once, with the same bytes by whoever writes them. A
    // process that tampers with the files from outside can spoil bytes, which the checksum finds.
    unsafe { Mmap::map(file) }
}
