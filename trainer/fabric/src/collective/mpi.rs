//! Ranks as processes that Open MPI started: shared memory within a node by MPI's windows, between nodes by
//! non-blocking MPI calls that are polled.
//!
//! Guarantee: MPI is called from the communication thread alone, every return code is checked, and a panic on any
//! rank ends all of them. Polling lets a waiting rank sleep: Open MPI's own waits keep a core busy.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::time::Duration;

use mpi::ffi;
use mpi::topology::{Communicator as _, SimpleCommunicator};
use mpi::traits::AsRaw;

use super::communicator::Communicator;
use super::node::{BARRIER_BYTES, Counters};
use super::region::{ALIGNMENT, Region};
use super::transport::{Topology, Transport};
use super::{CollectiveError, end_process};

unsafe extern "C" {
    fn syncyte_mpi_in_place() -> *const c_void;
}

/// Set to a number of ranks to take so many consecutive ones for a node, instead of asking MPI who shares memory.
const RANKS_PER_NODE: &str = "SYNCYTE_RANKS_PER_NODE";

/// Polls without a pause, then with longer and longer ones.
const EAGER_POLLS: u32 = 200;
const SHORTEST_NAP: Duration = Duration::from_micros(20);
const LONGEST_NAP: Duration = Duration::from_micros(500);

/// All ranks that `mpirun` or `srun` started.
#[derive(Debug)]
pub struct Mpi;

impl Mpi {
    /// Whether this process was started as one of several ranks.
    pub fn launched() -> bool {
        ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE"].iter().any(|name| std::env::var_os(name).is_some())
    }

    /// Starts MPI. A panic on any thread ends all ranks from then on. MPI is finalised when the communicator goes.
    ///
    /// # Errors
    /// When MPI does not start, was started before in this process, or cannot share memory.
    pub fn start() -> Result<Communicator, CollectiveError> {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            previous(info);
            end_process(101);
        }));
        Communicator::start(Processes::start)?.wait()
    }
}

/// MPI as seen by the communication thread.
struct Processes {
    place: Topology,
    /// Ranks of this node.
    node: SimpleCommunicator,
    /// Ranks with this one's place in their nodes.
    across: SimpleCommunicator,
    /// Barrier of the node.
    barrier: NonNull<Counters>,
    // Finalises MPI when it goes, last.
    _universe: mpi::environment::Universe,
}

// SAFETY: made and used on the communication thread alone; the type only passes through generic code that asks for it.
unsafe impl Send for Processes {}

impl Processes {
    fn start() -> Result<Self, CollectiveError> {
        let failed = |cause: &str| CollectiveError::new("start of MPI", 0, cause.into());
        let (universe, _) = mpi::initialize_with_threading(mpi::Threading::Funneled)
            .ok_or_else(|| failed("MPI was started before in this process"))?;
        let world = universe.world();
        // SAFETY: MPI is initialised and the communicator is valid; the handler only changes how errors return.
        unsafe { ffi::MPI_Comm_set_errhandler(world.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let locals = ranks_per_node(&world)?;
        let place = Topology { rank, size, locals };
        let split = |color: usize, key: usize| {
            world
                .split_by_color_with_key(mpi::topology::Color::with_value(color as c_int), key as c_int)
                .ok_or_else(|| CollectiveError::new("start of MPI", rank, "cannot group the ranks".into()))
        };
        let (node, across) = (split(place.node(), place.local())?, split(place.local(), place.node())?);
        for communicator in [&node, &across] {
            // SAFETY: as above.
            unsafe { ffi::MPI_Comm_set_errhandler(communicator.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        }
        let mut this = Self { place, node, across, barrier: NonNull::dangling(), _universe: universe };
        let copies = this.share(BARRIER_BYTES)?;
        // The first rank's copy is the barrier of the node; zeroed memory is its initial state.
        this.barrier = copies[0].cast();
        Ok(this)
    }

    fn check(&self, operation: &'static str, code: c_int) -> Result<(), CollectiveError> {
        check(operation, self.place.rank, code)
    }

    /// Memory of this many bytes on every rank of the node, as seen by this one, in order of place. Zeroed.
    fn share(&self, bytes: usize) -> Result<Vec<NonNull<u8>>, CollectiveError> {
        let room = bytes + ALIGNMENT;
        let mut start: *mut c_void = ptr::null_mut();
        // SAFETY: a null window handle to be overwritten.
        let mut window: ffi::MPI_Win = unsafe { std::mem::zeroed() };
        // SAFETY: the communicator is of ranks that share memory; both results are written before they are read.
        let code = unsafe {
            ffi::MPI_Win_allocate_shared(
                room as ffi::MPI_Aint,
                1,
                ffi::RSMPI_INFO_NULL,
                self.node.as_raw(),
                (&raw mut start).cast::<c_void>(),
                &raw mut window,
            )
        };
        check("allocation of shared memory", self.place.rank, code).map_err(|error| CollectiveError {
            cause: format!(
                "{}; {bytes} bytes a rank do not fit in the node's shared memory (/dev/shm): make it larger, or set \
                 {RANKS_PER_NODE}=1 to do without it",
                error.cause
            ),
            ..error
        })?;
        let mut copies = Vec::with_capacity(self.place.locals);
        for local in 0..self.place.locals {
            let (mut size, mut unit, mut at): (ffi::MPI_Aint, c_int, *mut c_void) = (0, 0, ptr::null_mut());
            // SAFETY: the window is valid; the results are written before they are read.
            let code = unsafe {
                ffi::MPI_Win_shared_query(
                    window,
                    local as c_int,
                    &raw mut size,
                    &raw mut unit,
                    (&raw mut at).cast::<c_void>(),
                )
            };
            self.check("query of shared memory", code)?;
            let base = NonNull::new(at.cast::<u8>())
                .ok_or_else(|| CollectiveError::new("query of shared memory", self.place.rank, "no address".into()))?;
            // Windows of all ranks are cut from one allocation that is page-aligned in every process, so a copy is
            // aligned for all of them by the same shift.
            let shift = base.as_ptr().align_offset(ALIGNMENT);
            // SAFETY: the window has `ALIGNMENT` bytes to spare.
            copies.push(unsafe { base.add(shift) });
        }
        let own = copies[self.place.local()];
        // SAFETY: this rank's own copy, which nobody else touches before the barrier below.
        unsafe { ptr::write_bytes(own.as_ptr(), 0, bytes) };
        // SAFETY: the communicator is valid.
        self.check("barrier", unsafe { ffi::MPI_Barrier(self.node.as_raw()) })?;
        // The window is never freed by itself: regions live as long as the program, and MPI_Finalize ends them.
        Ok(copies)
    }

    /// Starts a non-blocking call between nodes and polls it to its end.
    fn complete(
        &self,
        operation: &'static str,
        start: impl FnOnce(&mut ffi::MPI_Request) -> c_int,
    ) -> Result<(), CollectiveError> {
        // SAFETY: a constant of an initialised MPI library.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        self.check(operation, start(&mut request))?;
        let (mut polls, mut nap) = (0, SHORTEST_NAP);
        loop {
            let mut done: c_int = 0;
            // SAFETY: the request is valid until it is done, after which it is not used.
            let code = unsafe { ffi::MPI_Test(&raw mut request, &raw mut done, ffi::RSMPI_STATUS_IGNORE) };
            self.check(operation, code)?;
            if done != 0 {
                return Ok(());
            }
            polls += 1;
            if polls > EAGER_POLLS {
                std::thread::sleep(nap);
                nap = (nap * 2).min(LONGEST_NAP);
            }
        }
    }
}

fn check(operation: &'static str, rank: usize, code: c_int) -> Result<(), CollectiveError> {
    if code == ffi::MPI_SUCCESS as c_int {
        return Ok(());
    }
    let mut text = vec![0_u8; ffi::MPI_MAX_ERROR_STRING as usize];
    let mut length: c_int = 0;
    // SAFETY: the buffer has the length that MPI demands.
    let known = unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast(), &raw mut length) };
    let words = if known == ffi::MPI_SUCCESS as c_int { &text[..length as usize] } else { &[] };
    Err(CollectiveError::new(operation, rank, format!("MPI code {code} {}", String::from_utf8_lossy(words))))
}

/// Ranks that share memory with each other, where all nodes have equally many, consecutive ones; else 1.
fn ranks_per_node(world: &SimpleCommunicator) -> Result<usize, CollectiveError> {
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    if let Some(text) = std::env::var_os(RANKS_PER_NODE) {
        let wanted =
            text.to_str().and_then(|text| text.parse().ok()).filter(|&n: &usize| n > 0 && size.is_multiple_of(n));
        return wanted.ok_or_else(|| {
            let cause = format!("{RANKS_PER_NODE} must be a number that divides the {size} ranks");
            CollectiveError::new("start of MPI", rank, cause)
        });
    }
    let node = world.split_shared(rank as c_int);
    let locals = node.size() as usize;
    let fits = size.is_multiple_of(locals) && rank % locals == node.rank() as usize;
    // Every rank must come to the same answer.
    let mut answers = [u64::from(fits), locals as u64, u64::MAX - locals as u64];
    // SAFETY: three u64, in place; constants of an initialised MPI library.
    let code = unsafe {
        ffi::MPI_Allreduce(
            syncyte_mpi_in_place(),
            answers.as_mut_ptr().cast::<c_void>(),
            3,
            ffi::RSMPI_UINT64_T,
            ffi::RSMPI_MIN,
            world.as_raw(),
        )
    };
    check("start of MPI", rank, code)?;
    let even = answers[0] == 1 && answers[1] == u64::MAX - answers[2];
    Ok(if even { locals } else { 1 })
}

/// Counts and displacements of pieces, as MPI takes them.
fn layout(pieces: &[Range<usize>]) -> (Vec<c_int>, Vec<c_int>) {
    pieces.iter().map(|piece| (piece.len() as c_int, piece.start as c_int)).unzip()
}

impl Transport for Processes {
    fn topology(&self) -> Topology {
        self.place
    }

    fn allocate(&mut self, bytes: usize) -> Result<Region, CollectiveError> {
        let copies = self.share(bytes)?;
        // SAFETY: aligned, zeroed copies of `bytes` each, which live until MPI is finalised; the communicator, whose
        // thread does that, outlives what was allocated from it (see `Collective`).
        Ok(unsafe { Region::new(copies, self.place.local(), bytes, Vec::new()) })
    }

    fn node_barrier(&mut self, eager: bool) -> Result<(), CollectiveError> {
        // SAFETY: shared memory of the first rank of the node, zeroed before any rank got here, touched atomically.
        unsafe { self.barrier.as_ref() }.wait(self.place.locals as u32, eager);
        Ok(())
    }

    fn exchange(&mut self, from: &[u8], pieces: &[Range<usize>], to: &mut [u8]) -> Result<(), CollectiveError> {
        let (counts, displacements) = layout(pieces);
        let own = pieces[self.place.node()].len();
        let (own_counts, own_displacements) =
            layout(&(0..pieces.len()).map(|node| node * own..(node + 1) * own).collect::<Vec<_>>());
        let across = self.across.as_raw();
        // SAFETY: buffers and counts are as long as the call says (pieces lie in `from`, `to` holds one own piece a
        // node) and live until `complete` returns.
        self.complete("exchange between nodes", |request| unsafe {
            ffi::MPI_Ialltoallv(
                from.as_ptr().cast(),
                counts.as_ptr(),
                displacements.as_ptr(),
                ffi::RSMPI_UINT8_T,
                to.as_mut_ptr().cast(),
                own_counts.as_ptr(),
                own_displacements.as_ptr(),
                ffi::RSMPI_UINT8_T,
                across,
                request,
            )
        })
    }

    fn gather(&mut self, values: &mut [u8], pieces: &[Range<usize>]) -> Result<(), CollectiveError> {
        let (counts, displacements) = layout(pieces);
        let across = self.across.as_raw();
        // SAFETY: as in `exchange`; the own piece is in place.
        self.complete("gathering between nodes", |request| unsafe {
            ffi::MPI_Iallgatherv(
                syncyte_mpi_in_place(),
                0,
                ffi::RSMPI_UINT8_T,
                values.as_mut_ptr().cast(),
                counts.as_ptr(),
                displacements.as_ptr(),
                ffi::RSMPI_UINT8_T,
                across,
                request,
            )
        })
    }

    fn broadcast(&mut self, values: &mut [u8], root: usize) -> Result<(), CollectiveError> {
        let across = self.across.as_raw();
        // SAFETY: the buffer is as long as the call says and lives until `complete` returns.
        self.complete("broadcast between nodes", |request| unsafe {
            ffi::MPI_Ibcast(
                values.as_mut_ptr().cast(),
                values.len() as c_int,
                ffi::RSMPI_UINT8_T,
                root as c_int,
                across,
                request,
            )
        })
    }
}
