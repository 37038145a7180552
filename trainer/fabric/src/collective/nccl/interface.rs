//! The C interface of NCCL that is used here, as `nccl.h` of release 2.28.9 declares it.
//!
//! Guarantee: the layouts and numbers are those of that release. A newer library reads its settings by the size and
//! the version that they carry, and takes its own defaults for the rest (NCCL User Guide, "ncclConfig_t").

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::offset_of;

/// What a call returns (User Guide, "ncclResult_t").
pub(super) type Code = c_int;
/// A communicator, whose inside NCCL keeps to itself.
pub(super) type Handle = *mut c_void;

pub(super) const SUCCESS: Code = 0;
pub(super) const UNHANDLED_CUDA: Code = 1;
pub(super) const INVALID_USAGE: Code = 5;
pub(super) const REMOTE: Code = 6;
pub(super) const IN_PROGRESS: Code = 7;

/// What makes the ranks of one communicator find each other: made by one rank, given to all of them by other means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct UniqueId(pub [u8; 128]);

/// An address in the memory of a GPU (`CUdeviceptr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct DevicePointer(pub u64);

impl DevicePointer {
    pub(super) fn raw(self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.0 as usize)
    }
}

/// A CUDA stream (`CUstream`); null is the default stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Stream(pub *mut c_void);

/// What a buffer holds (User Guide, "ncclDataType_t").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum DataType {
    /// Unsigned integers of 64 bits.
    U64 = 5,
    /// IEEE half precision.
    F16 = 6,
    /// Single precision.
    F32 = 7,
    /// Double precision.
    F64 = 8,
    /// The upper half of single precision.
    Bf16 = 9,
}

/// How values of the ranks become one (User Guide, "ncclRedOp_t").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Op {
    /// Their sum.
    Sum = 0,
    /// The largest.
    Max = 2,
    /// Their sum, divided by the number of ranks.
    Avg = 4,
}

/// `ncclConfig_t`. The names are those of the header.
#[derive(Debug)]
#[repr(C)]
pub(super) struct RawConfig {
    pub(super) size: usize,
    pub(super) magic: c_uint,
    pub(super) version: c_uint,
    pub(super) blocking: c_int,
    pub(super) cga_cluster_size: c_int,
    pub(super) min_ctas: c_int,
    pub(super) max_ctas: c_int,
    pub(super) net_name: *const c_char,
    pub(super) split_share: c_int,
    pub(super) traffic_class: c_int,
    pub(super) comm_name: *const c_char,
    pub(super) collnet_enable: c_int,
    pub(super) cta_policy: c_int,
    pub(super) shrink_share: c_int,
    pub(super) nvls_ctas: c_int,
    pub(super) n_channels_per_net_peer: c_int,
    pub(super) nvlink_centric_sched: c_int,
}

const _: () = assert!(
    size_of::<RawConfig>() == 80
        && offset_of!(RawConfig, blocking) == 16
        && offset_of!(RawConfig, net_name) == 32
        && offset_of!(RawConfig, comm_name) == 48
        && offset_of!(RawConfig, nvlink_centric_sched) == 76
);

/// `NCCL_CONFIG_UNDEF_INT`: NCCL chooses.
const UNSET: c_int = c_int::MIN;

impl RawConfig {
    /// `NCCL_CONFIG_INITIALIZER`, but non-blocking.
    pub(super) const fn non_blocking() -> Self {
        Self {
            size: size_of::<Self>(),
            magic: 0xcafe_beef,
            version: 22809,
            blocking: 0,
            cga_cluster_size: UNSET,
            min_ctas: UNSET,
            max_ctas: UNSET,
            net_name: std::ptr::null(),
            split_share: UNSET,
            traffic_class: UNSET,
            comm_name: std::ptr::null(),
            collnet_enable: UNSET,
            cta_policy: UNSET,
            shrink_share: UNSET,
            nvls_ctas: UNSET,
            n_channels_per_net_peer: UNSET,
            nvlink_centric_sched: UNSET,
        }
    }
}

macro_rules! functions {
    ($($name:ident = $symbol:literal ($($argument:ty),*) -> $result:ty;)*) => {
        /// NCCL's functions, found once; `ncclGetVersion`, which tells whether this is NCCL at all, goes before them.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Functions {
            /// Finds every function, or names the first that is missing.
            pub(super) fn resolve(library: &libloading::os::unix::Library) -> Result<Self, &'static str> {
                Ok(Self {
                    // SAFETY: the symbol has the type that NCCL's header declares.
                    $($name: *unsafe { library.get::<unsafe extern "C" fn($($argument),*) -> $result>($symbol) }
                        .map_err(|_| $symbol)?,)*
                })
            }
        }
    };
}

functions! {
    get_unique_id = "ncclGetUniqueId"(*mut UniqueId) -> Code;
    get_error_string = "ncclGetErrorString"(Code) -> *const c_char;
    get_last_error = "ncclGetLastError"(Handle) -> *const c_char;
    init_rank_config = "ncclCommInitRankConfig"(*mut Handle, c_int, UniqueId, c_int, *mut RawConfig) -> Code;
    get_async_error = "ncclCommGetAsyncError"(Handle, *mut Code) -> Code;
    cu_device = "ncclCommCuDevice"(Handle, *mut c_int) -> Code;
    finalize = "ncclCommFinalize"(Handle) -> Code;
    destroy = "ncclCommDestroy"(Handle) -> Code;
    abort = "ncclCommAbort"(Handle) -> Code;
    all_reduce = "ncclAllReduce"(*const c_void, *mut c_void, usize, c_int, c_int, Handle, *mut c_void) -> Code;
    reduce_scatter = "ncclReduceScatter"(*const c_void, *mut c_void, usize, c_int, c_int, Handle, *mut c_void) -> Code;
    all_gather = "ncclAllGather"(*const c_void, *mut c_void, usize, c_int, Handle, *mut c_void) -> Code;
    broadcast = "ncclBroadcast"(*const c_void, *mut c_void, usize, c_int, c_int, Handle, *mut c_void) -> Code;
    group_start = "ncclGroupStart"() -> Code;
    group_end = "ncclGroupEnd"() -> Code;
}
