//! A stand-in for NCCL whose answers are scripted, for what takes GPUs: waiting, limits, groups, and the end.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::PathBuf;

use super::super::interface::{Code, Functions, Handle, IN_PROGRESS, RawConfig, SUCCESS, UniqueId};
use super::super::{Library, Version};

/// What NCCL answers, and what it was asked, on this thread.
#[derive(Default)]
pub(super) struct Script {
    /// What the next questions for the state are answered with; afterwards `last`.
    pub(super) states: VecDeque<Code>,
    pub(super) last: Code,
    /// What functions return, if not success.
    pub(super) codes: HashMap<&'static str, Code>,
    pub(super) last_error: &'static CStr,
    calls: Vec<String>,
}

thread_local!(static SCRIPT: RefCell<Script> = RefCell::default());

/// Of the communicator that the stand-in makes.
const HANDLE: usize = 0x5ca1e;
pub(super) const POLL: &str = "ncclCommGetAsyncError";

pub(super) fn script<T>(change: impl FnOnce(&mut Script) -> T) -> T {
    SCRIPT.with_borrow_mut(change)
}

/// Forgets what another test on this thread scripted.
pub(super) fn clear() {
    script(|script| *script = Script::default());
}

/// The calls since the last time; many questions for the state in a row are one.
pub(super) fn calls() -> Vec<String> {
    let mut calls = script(|script| std::mem::take(&mut script.calls));
    calls.dedup_by(|call, before| call == before && call == POLL);
    calls
}

fn called(symbol: &'static str, arguments: &[usize]) -> Code {
    script(|script| {
        let words = std::iter::once(symbol.to_owned()).chain(arguments.iter().map(|argument| format!("{argument:x}")));
        script.calls.push(words.collect::<Vec<_>>().join(" "));
        script.codes.get(symbol).copied().unwrap_or(SUCCESS)
    })
}

fn on(symbol: &'static str, handle: Handle) -> Code {
    assert_eq!(handle.addr(), HANDLE, "{symbol}");
    called(symbol, &[])
}

extern "C" fn get_unique_id(_: *mut UniqueId) -> Code {
    called("ncclGetUniqueId", &[])
}

extern "C" fn get_error_string(_: Code) -> *const c_char {
    c"in words".as_ptr()
}

extern "C" fn get_last_error(_: Handle) -> *const c_char {
    script(|script| script.last_error.as_ptr())
}

extern "C" fn init_rank_config(
    handle: *mut Handle,
    world: c_int,
    id: UniqueId,
    rank: c_int,
    config: *mut RawConfig,
) -> Code {
    // SAFETY: as the header promises.
    let config = unsafe { &*config };
    let code = called(
        "ncclCommInitRankConfig",
        &[world as usize, id.0[127].into(), rank as usize, config.blocking as usize, config.max_ctas as u32 as usize],
    );
    assert_eq!((config.size, config.magic, config.version), (80, 0xcafe_beef, 22809));
    if code == SUCCESS || code == IN_PROGRESS {
        // SAFETY: as the header promises.
        unsafe { *handle = std::ptr::without_provenance_mut(HANDLE) };
    }
    code
}

extern "C" fn get_async_error(handle: Handle, state: *mut Code) -> Code {
    let code = on(POLL, handle);
    // SAFETY: as the header promises.
    unsafe { *state = script(|script| script.states.pop_front().unwrap_or(script.last)) };
    code
}

extern "C" fn cu_device(handle: Handle, device: *mut c_int) -> Code {
    // SAFETY: as the header promises.
    unsafe { *device = 3 };
    on("ncclCommCuDevice", handle)
}

extern "C" fn finalize(handle: Handle) -> Code {
    on("ncclCommFinalize", handle)
}

extern "C" fn destroy(handle: Handle) -> Code {
    on("ncclCommDestroy", handle)
}

extern "C" fn abort(handle: Handle) -> Code {
    on("ncclCommAbort", handle)
}

extern "C" fn all_reduce(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    data: c_int,
    op: c_int,
    handle: Handle,
    stream: *mut c_void,
) -> Code {
    let arguments = [send.addr(), receive.addr(), count, data as usize, op as usize, handle.addr(), stream.addr()];
    called("ncclAllReduce", &arguments)
}

extern "C" fn reduce_scatter(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    data: c_int,
    op: c_int,
    handle: Handle,
    stream: *mut c_void,
) -> Code {
    let arguments = [send.addr(), receive.addr(), count, data as usize, op as usize, handle.addr(), stream.addr()];
    called("ncclReduceScatter", &arguments)
}

extern "C" fn all_gather(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    data: c_int,
    handle: Handle,
    stream: *mut c_void,
) -> Code {
    let arguments = [send.addr(), receive.addr(), count, data as usize, handle.addr(), stream.addr()];
    called("ncclAllGather", &arguments)
}

extern "C" fn broadcast(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    data: c_int,
    root: c_int,
    handle: Handle,
    stream: *mut c_void,
) -> Code {
    let arguments = [send.addr(), receive.addr(), count, data as usize, root as usize, handle.addr(), stream.addr()];
    called("ncclBroadcast", &arguments)
}

extern "C" fn group_start() -> Code {
    called("ncclGroupStart", &[])
}

extern "C" fn group_end() -> Code {
    called("ncclGroupEnd", &[])
}

pub(super) fn library() -> Library {
    let functions = Functions {
        get_unique_id,
        get_error_string,
        get_last_error,
        init_rank_config,
        get_async_error,
        cu_device,
        finalize,
        destroy,
        abort,
        all_reduce,
        reduce_scatter,
        all_gather,
        broadcast,
        group_start,
        group_end,
    };
    Library { functions, version: Version::of_code(22809), path: PathBuf::new() }
}
