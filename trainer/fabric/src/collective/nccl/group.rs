//! Groups of operations, which NCCL counts by thread and not by communicator.

use std::cell::Cell;

// Whether this thread has a group open. NCCL counts groups by thread, not by communicator.
thread_local!(pub(super) static OPEN: Cell<bool> = const { Cell::new(false) });

/// Whether this thread has a group open.
pub(super) fn in_group() -> bool {
    OPEN.get()
}
