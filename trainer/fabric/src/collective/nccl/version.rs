//! Releases of NCCL.

use std::ffi::c_int;
use std::fmt::{Display, Formatter};

/// A release of NCCL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 2 for every NCCL of today.
    pub major: i32,
    /// Minor release.
    pub minor: i32,
    /// Patch release.
    pub patch: i32,
}

impl Version {
    /// Takes `NCCL_VERSION_CODE` apart: up to 2.8 the minor release has one digit of its own less (`nccl.h`).
    pub(super) fn of_code(code: c_int) -> Self {
        let unit = if code < 10_000 { 1_000 } else { 10_000 };
        Self { major: code / unit, minor: code % unit / 100, patch: code % 100 }
    }
}

impl Display for Version {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
