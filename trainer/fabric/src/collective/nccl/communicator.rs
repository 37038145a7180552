//! The ranks of a run as NCCL sees them.
//!
//! Guarantee: no call but an abort waits longer than its limit. A communicator that failed is never used again and is
//! aborted; one that did not is finalised and destroyed. It is used by one thread at a time.

use std::cell::Cell;
use std::ffi::c_int;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use super::error::{Member, NcclError, late};
use super::group::in_group;
use super::interface::{Code, Handle, IN_PROGRESS, RawConfig, SUCCESS, UniqueId};
use super::library::Library;

/// How a communicator works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most blocks of a GPU that one operation occupies (`maxCTAs`); NCCL chooses when `None`.
    pub max_ctas: Option<NonZeroU16>,
    /// Longest that NCCL may take to put an operation on its stream, and to finalise. It does not bound how long the
    /// operation then runs on the GPU.
    pub limit: Duration,
}

impl Default for Config {
    /// NCCL's own choices, and the ten minutes that PyTorch gives an operation.
    fn default() -> Self {
        Self { max_ctas: None, limit: Duration::from_mins(10) }
    }
}

/// How far the operations of a communicator are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All were put on their streams.
    Ready,
    /// NCCL is still starting, finalising, or putting an operation on its stream.
    InProgress,
}

/// One rank's part of a communicator, bound to the CUDA device that was current when it started.
#[derive(Debug)]
pub struct Communicator {
    pub(super) library: Library,
    member: Member,
    pub(super) limit: Duration,
    /// Null once it was aborted or destroyed.
    handle: Cell<Handle>,
    pub(super) failed: Cell<bool>,
    /// Whether a group of this communicator is open. Nothing is waited for inside: NCCL does nothing before its end.
    pub(super) grouped: Cell<bool>,
}

// SAFETY: a communicator may be used from any thread as long as it is by one at a time (User Guide, "Thread Safety");
// the cells keep it from being shared.
unsafe impl Send for Communicator {}

impl Communicator {
    /// Starts this rank and waits until all ranks have (User Guide, "Creating a communicator with options"). The CUDA
    /// device of the rank must be current on this thread.
    ///
    /// # Errors
    /// When NCCL fails, or not every rank has started at the deadline: what was started is aborted then. Inside a
    /// group.
    pub fn start(
        library: &Library,
        id: UniqueId,
        rank: usize,
        world: usize,
        config: Config,
        deadline: Instant,
    ) -> Result<Self, NcclError> {
        const CALL: &str = "ncclCommInitRankConfig";
        let member = Member { rank, world };
        if in_group() {
            // NCCL would say that it is done, and begin at the group's end.
            return Err(NcclError::InGroup { call: CALL, member });
        }
        let mut raw = RawConfig::non_blocking();
        if let Some(most) = config.max_ctas {
            raw.max_ctas = c_int::from(most.get());
        }
        let began = Instant::now();
        let mut handle = std::ptr::null_mut();
        // SAFETY: both pointers are valid for the call; NCCL copies the settings.
        let code = unsafe {
            (library.functions.init_rank_config)(&raw mut handle, world as c_int, id, rank as c_int, &raw mut raw)
        };
        if handle.is_null() {
            let error = library.failure(CALL, Some(member), code);
            // NCCL opens a group here, and leaves it open when there is no driver (init.cc of 2.28.9): every later call
            // on this thread would be put off for ever. Where no group is open this does nothing.
            // SAFETY: takes nothing, and acts on this thread's group only.
            unsafe { (library.functions.group_end)() };
            return Err(error);
        }
        let (library, handle) = (library.clone(), Cell::new(handle));
        let communicator =
            Self { library, member, limit: config.limit, handle, failed: Cell::new(false), grouped: Cell::new(false) };
        // Dropping it on an error aborts it.
        communicator.settle(CALL, code, began, deadline.saturating_duration_since(began))?;
        Ok(communicator)
    }

    /// Rank and number of ranks.
    pub fn member(&self) -> Member {
        self.member
    }

    /// Number of its CUDA device in this process (User Guide, "ncclCommCuDevice").
    ///
    /// # Errors
    /// When the communicator has failed.
    pub fn device(&self) -> Result<usize, NcclError> {
        const CALL: &str = "ncclCommCuDevice";
        let mut device = 0;
        let handle = self.usable(CALL)?;
        // SAFETY: the handle is open and the number valid for writes.
        let code = unsafe { (self.library.functions.cu_device)(handle, &raw mut device) };
        self.check(CALL, code)?;
        Ok(device as usize)
    }

    /// Asks NCCL whether an operation failed after its call (User Guide, "Asynchronous errors and error handling").
    /// Whoever waits for a stream asks again and again, since an operation that failed never ends.
    ///
    /// # Errors
    /// When one failed. The communicator has failed then, and on every other rank it must be aborted too.
    pub fn async_error(&self) -> Result<Progress, NcclError> {
        const CALL: &str = "ncclCommGetAsyncError";
        let handle = self.usable(CALL)?;
        match self.state(handle)? {
            IN_PROGRESS => Ok(Progress::InProgress),
            code => self.check(CALL, code).map(|()| Progress::Ready),
        }
    }

    /// Ends whatever is under way, on the GPU too, and frees the communicator (User Guide, "Fault Tolerance"). All
    /// ranks that are left must do the same. A second time it does nothing.
    ///
    /// NCCL may itself wait here for a device that no longer answers: a process that must end in time needs another
    /// thread to end it.
    ///
    /// # Errors
    /// When NCCL could not free everything. Inside a group, whose operations would outlive the communicator: it has
    /// failed then, and is aborted when it is dropped.
    pub fn abort(&self) -> Result<(), NcclError> {
        const CALL: &str = "ncclCommAbort";
        if in_group() {
            self.failed.set(true);
            return Err(NcclError::InGroup { call: CALL, member: self.member });
        }
        let handle = self.handle.replace(std::ptr::null_mut());
        if handle.is_null() {
            return Ok(());
        }
        // SAFETY: the handle was open, and nothing refers to it any more.
        let code = unsafe { (self.library.functions.abort)(handle) };
        // A communicator that does not block may be freed behind our back.
        if code == IN_PROGRESS { Ok(()) } else { self.check(CALL, code) }
    }

    /// Waits until all operations have ended and frees the communicator, together with all ranks (User Guide,
    /// "Finalizing a communicator", "Destroying a communicator"). Dropping it does the same, but cannot say what
    /// failed.
    ///
    /// # Errors
    /// When NCCL fails or takes longer than the limit; the communicator is aborted then.
    pub fn finalize(self) -> Result<(), NcclError> {
        self.close()
    }

    fn close(&self) -> Result<(), NcclError> {
        const CALL: &str = "ncclCommFinalize";
        let handle = self.usable(CALL)?;
        let began = Instant::now();
        // SAFETY: the handle is open and was not finalised: only this does, and destroys or aborts it next.
        let code = unsafe { (self.library.functions.finalize)(handle) };
        self.settle(CALL, code, began, self.limit)?;
        self.handle.set(std::ptr::null_mut());
        // SAFETY: the handle was open, and nothing refers to it any more.
        self.check("ncclCommDestroy", unsafe { (self.library.functions.destroy)(handle) })
    }

    /// Waits until NCCL has done what `call` asked for (User Guide, "ncclCommGetAsyncError").
    pub(super) fn settle(
        &self,
        call: &'static str,
        code: Code,
        began: Instant,
        limit: Duration,
    ) -> Result<(), NcclError> {
        if code != IN_PROGRESS {
            self.check(call, code)?;
        }
        let handle = self.usable(call)?;
        for round in 0_u64.. {
            match self.state(handle)? {
                IN_PROGRESS if began.elapsed() < limit => pause(round),
                IN_PROGRESS => break,
                code => return self.check(call, code),
            }
        }
        self.failed.set(true);
        Err(NcclError::Deadline { call, member: self.member, waited: began.elapsed(), hint: late(call) })
    }

    fn state(&self, handle: Handle) -> Result<Code, NcclError> {
        let mut state = IN_PROGRESS;
        // SAFETY: the handle is open and the code valid for writes.
        let code = unsafe { (self.library.functions.get_async_error)(handle, &raw mut state) };
        self.check("ncclCommGetAsyncError", code)?;
        Ok(state)
    }

    pub(super) fn check(&self, call: &'static str, code: Code) -> Result<(), NcclError> {
        if code == SUCCESS {
            return Ok(());
        }
        self.failed.set(true);
        Err(self.library.failure(call, Some(self.member), code))
    }

    pub(super) fn usable(&self, call: &'static str) -> Result<Handle, NcclError> {
        let (handle, member) = (self.handle.get(), self.member);
        if handle.is_null() || self.failed.get() {
            return Err(NcclError::Unusable { call, member });
        }
        if in_group() && !self.grouped.get() {
            return Err(NcclError::InGroup { call, member });
        }
        Ok(handle)
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        // A rank that panics leaves the others in the middle of something: to finalise would wait for them.
        let clean = !self.handle.get().is_null() && !std::thread::panicking() && self.close().is_ok();
        if !clean {
            // Nobody is left to tell.
            self.abort().ok();
        }
    }
}

/// Most operations are on their streams within microseconds, a start takes seconds.
fn pause(round: u64) {
    if round < 1000 {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(200));
    }
}
