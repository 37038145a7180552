//! Memory that ranks reduce in place.
//!
//! Guarantee: a region is zeroed memory of one length on every rank. The copies of the ranks of a node are visible to
//! all of them, so a reduction within a node reads and writes each number once and copies nothing. A rank touches its
//! copy freely, except for the range of an operation that is pending.

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes that every region starts at a multiple of.
pub(super) const ALIGNMENT: usize = 64;

/// A flat buffer that was allocated by all ranks together. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Region {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Start of the copy of every rank of the node.
    copies: Vec<NonNull<u8>>,
    own: usize,
    bytes: usize,
    /// Whatever keeps the memory alive.
    _keep: Vec<Arc<dyn Any + Send + Sync>>,
}

// SAFETY: the pointers are to memory that `_keep` or the transport holds for the life of the region; who may touch
// which part when is the contract of the operations, which order accesses by barriers.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Region {
    /// # Safety
    /// Every copy is `bytes` long, aligned to [`ALIGNMENT`], initialised, and lives as long as `keep`.
    pub(super) unsafe fn new(
        copies: Vec<NonNull<u8>>,
        own: usize,
        bytes: usize,
        keep: Vec<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        Self { inner: Arc::new(Inner { copies, own, bytes, _keep: keep }) }
    }

    /// Memory of a world of one.
    pub(super) fn private(bytes: usize) -> Self {
        let memory = Arc::new(Memory::zeroed(bytes));
        // SAFETY: the memory is aligned, zeroed, `bytes` long, and kept.
        unsafe { Self::new(vec![memory.start()], 0, bytes, vec![memory]) }
    }

    /// Number of f32 that it holds.
    pub fn len(&self) -> usize {
        self.inner.bytes / size_of::<f32>()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Start of this rank's copy.
    pub fn start(&self) -> NonNull<u8> {
        self.inner.copies[self.inner.own]
    }

    /// Index of this rank's copy among those of the node.
    pub(super) fn own(&self) -> usize {
        self.inner.own
    }

    /// Part of a copy, counted in `T`.
    ///
    /// # Safety
    /// Nobody writes to this part while the slice lives.
    pub(super) unsafe fn read<T>(&self, copy: usize, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end * size_of::<T>() <= self.inner.bytes, "outside of the region");
        // SAFETY: inside the copy (checked), aligned (every `T` used divides the alignment), initialised.
        unsafe {
            std::slice::from_raw_parts(self.inner.copies[copy].as_ptr().cast::<T>().add(range.start), range.len())
        }
    }

    /// Part of a copy, counted in `T`, to write to.
    ///
    /// # Safety
    /// Nobody else touches this part while the slice lives.
    #[expect(clippy::mut_from_ref, reason = "the memory is shared; exclusiveness is the caller's contract")]
    pub(super) unsafe fn write<T>(&self, copy: usize, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end * size_of::<T>() <= self.inner.bytes, "outside of the region");
        // SAFETY: as in `read`; exclusive by the contract.
        unsafe {
            std::slice::from_raw_parts_mut(self.inner.copies[copy].as_ptr().cast::<T>().add(range.start), range.len())
        }
    }
}

/// Zeroed, aligned heap memory.
#[derive(Debug)]
pub(super) struct Memory {
    lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

impl Memory {
    pub(super) fn zeroed(bytes: usize) -> Self {
        Self { lines: vec![Line([0; ALIGNMENT]); bytes.div_ceil(ALIGNMENT).max(1)] }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        NonNull::from(&self.lines[0]).cast()
    }
}
