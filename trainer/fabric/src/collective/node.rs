//! The ranks of one node: a barrier in memory that all of them see.
//!
//! Guarantee: what a rank wrote before a barrier is seen by all after it. A rank that waits spins for a moment and
//! then sleeps in the kernel, so that on a machine with one core a rank the others compute meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex;

/// Bytes that a barrier takes in shared memory: two counters on cache lines of their own.
pub(super) const BARRIER_BYTES: usize = 128;

/// How often a rank looks before it sleeps, where the caller waits for the operation anyway.
const SPINS: u32 = 2_000;
/// A sleeper looks again after this, in case it was never woken.
const NAP: Duration = Duration::from_millis(50);

/// The counters, at the start of memory that all ranks of the node see.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Counters {
    arrived: AtomicU32,
    _line: [u8; 60],
    generation: AtomicU32,
}

impl Counters {
    /// Waits for `ranks` ranks. `eager` spins first.
    pub(super) fn wait(&self, ranks: u32, eager: bool) {
        if ranks == 1 {
            return;
        }
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == ranks {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
            // The kernel takes the number for a signed one, and with a negative one wakes a single sleeper. Without a
            // sleeper this does nothing; a failure leaves the sleepers to their nap.
            let _ = futex::wake(&self.generation, futex::Flags::empty(), i32::MAX.unsigned_abs());
            return;
        }
        let mut spins = if eager { SPINS } else { 0 };
        while self.generation.load(Ordering::Acquire) == generation {
            if spins > 0 {
                spins -= 1;
                std::hint::spin_loop();
            } else {
                let nap = futex::Timespec { tv_sec: 0, tv_nsec: NAP.subsec_nanos().into() };
                // Whatever ended the sleep, the loop looks again.
                let _ = futex::wait(&self.generation, futex::Flags::empty(), generation, Some(&nap));
            }
        }
    }
}

const _: () = assert!(size_of::<Counters>() <= BARRIER_BYTES);
