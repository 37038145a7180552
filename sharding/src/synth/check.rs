//! Checks of configuration values.

use super::SynthError;

pub(super) fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), SynthError> {
    if holds { Ok(()) } else { Err(SynthError::Config { message: message() }) }
}

pub(super) fn require_share(name: &str, share: f64) -> Result<(), SynthError> {
    require((0.0..=1.0).contains(&share), || format!("{name} is {share}, a share lies in 0..=1"))
}

pub(super) fn require_scale(name: &str, scale: f64) -> Result<(), SynthError> {
    require(scale.is_finite() && scale >= 0.0, || format!("{name} is {scale}, it must be finite and not negative"))
}
