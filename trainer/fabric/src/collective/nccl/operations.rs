//! What the ranks of a communicator do together.
//!
//! Guarantee: an operation is on its stream when its call returns, or, in a group, when the group returns. NCCL puts it
//! there in the background, and forbids to use the stream before (User Guide, "ncclCommGetAsyncError").

use std::ffi::c_int;
use std::time::Instant;

use super::communicator::Communicator;
use super::error::NcclError;
use super::group::OPEN;
use super::interface::{Code, DataType, DevicePointer, Handle, IN_PROGRESS, Op, Stream};

impl Communicator {
    /// Reduces `count` values at `send` over all ranks into `receive` on every rank; in place where both are the same
    /// (User Guide, "ncclAllReduce"). Returns when the operation is on the stream.
    ///
    /// # Errors
    /// When NCCL fails, or takes longer than the limit.
    ///
    /// # Safety
    /// Both pointers hold `count` values on the communicator's device, and the stream is one of that device, until the
    /// stream has passed the operation. All ranks call with the same count, type and operation.
    pub unsafe fn all_reduce(
        &self,
        send: DevicePointer,
        receive: DevicePointer,
        count: usize,
        data: DataType,
        op: Op,
        stream: Stream,
    ) -> Result<(), NcclError> {
        let function = self.library.functions.all_reduce;
        // SAFETY: the handle is open; the caller answers for the buffers and the stream.
        self.enqueue("ncclAllReduce", |handle| unsafe {
            function(send.raw(), receive.raw(), count, data as c_int, op as c_int, handle, stream.0)
        })
    }

    /// Reduces `count` values for each rank, `count * world` at `send`, and leaves those of rank `r` at `receive` of
    /// rank `r` (User Guide, "ncclReduceScatter"). In place where `receive` is the rank's own part of `send`.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    ///
    /// # Safety
    /// As [`Communicator::all_reduce`], with `count * world` values at `send`.
    pub unsafe fn reduce_scatter(
        &self,
        send: DevicePointer,
        receive: DevicePointer,
        count: usize,
        data: DataType,
        op: Op,
        stream: Stream,
    ) -> Result<(), NcclError> {
        let function = self.library.functions.reduce_scatter;
        // SAFETY: the handle is open; the caller answers for the buffers and the stream.
        self.enqueue("ncclReduceScatter", |handle| unsafe {
            function(send.raw(), receive.raw(), count, data as c_int, op as c_int, handle, stream.0)
        })
    }

    /// Gathers `count` values of every rank, in order of rank, at `receive` of every rank (User Guide,
    /// "ncclAllGather"). In place where `send` is the rank's own part of `receive`.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    ///
    /// # Safety
    /// As [`Communicator::all_reduce`], with `count * world` values at `receive`.
    pub unsafe fn all_gather(
        &self,
        send: DevicePointer,
        receive: DevicePointer,
        count: usize,
        data: DataType,
        stream: Stream,
    ) -> Result<(), NcclError> {
        let function = self.library.functions.all_gather;
        // SAFETY: the handle is open; the caller answers for the buffers and the stream.
        self.enqueue("ncclAllGather", |handle| unsafe {
            function(send.raw(), receive.raw(), count, data as c_int, handle, stream.0)
        })
    }

    /// Copies `count` values at `send` of rank `root` to `receive` of every rank; in place where both are the same
    /// (User Guide, "ncclBroadcast"). Ranks other than the root do not read `send`.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    ///
    /// # Safety
    /// As [`Communicator::all_reduce`].
    pub unsafe fn broadcast(
        &self,
        send: DevicePointer,
        receive: DevicePointer,
        count: usize,
        data: DataType,
        root: usize,
        stream: Stream,
    ) -> Result<(), NcclError> {
        let function = self.library.functions.broadcast;
        // SAFETY: the handle is open; the caller answers for the buffers and the stream.
        self.enqueue("ncclBroadcast", |handle| unsafe {
            function(send.raw(), receive.raw(), count, data as c_int, root as c_int, handle, stream.0)
        })
    }

    /// Makes the operations of this communicator that `calls` asks for one launch (User Guide, "Aggregated
    /// Operations"). They are on their streams when this returns, not before. Meanwhile other communicators refuse to
    /// be used on this thread, and this one to be aborted: NCCL would do either at the end only.
    ///
    /// # Errors
    /// What `calls` fails with, or NCCL at the end of the group. The communicator has failed then.
    pub fn group<T>(&self, calls: impl FnOnce() -> Result<T, NcclError>) -> Result<T, NcclError> {
        const CALL: &str = "ncclGroupStart";
        self.usable(CALL)?;
        // SAFETY: takes nothing; the guard ends the group on this thread.
        self.check(CALL, unsafe { (self.library.functions.group_start)() })?;
        self.grouped.set(true);
        let mut group = Group { communicator: self, outer: OPEN.replace(true), ended: false };
        let outcome = calls();
        self.failed.set(self.failed.get() || outcome.is_err());
        let ended = group.end();
        let value = outcome?;
        self.issued("ncclGroupEnd", ended)?;
        Ok(value)
    }

    fn enqueue(&self, call: &'static str, function: impl FnOnce(Handle) -> Code) -> Result<(), NcclError> {
        let code = function(self.usable(call)?);
        self.issued(call, code)
    }

    /// Waits until an operation is on its stream, unless a group puts it off.
    fn issued(&self, call: &'static str, code: Code) -> Result<(), NcclError> {
        match code {
            IN_PROGRESS if self.grouped.get() => Ok(()),
            IN_PROGRESS => self.settle(call, code, Instant::now(), self.limit),
            code => self.check(call, code),
        }
    }
}

/// A group that is open on this thread, and must be ended on it.
struct Group<'a> {
    communicator: &'a Communicator,
    /// Whether it is inside another one of the same communicator.
    outer: bool,
    ended: bool,
}

impl Group<'_> {
    fn end(&mut self) -> Code {
        self.ended = true;
        self.communicator.grouped.set(self.outer);
        OPEN.set(self.outer);
        // SAFETY: the group was started on this thread, which it cannot leave.
        unsafe { (self.communicator.library.functions.group_end)() }
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.communicator.failed.set(true);
            self.end();
        }
    }
}
