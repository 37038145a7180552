//! Operations that torch has, done faster or with less memory.
//!
//! Guarantee: each is the same function as torch's, to rounding, with gradients of parameters in f32 whatever kind it
//! computes in. Where there is no faster way (other devices and kinds), it is torch's own.

mod attention;
mod linear;
mod norm;
#[cfg(test)]
mod tests;

pub use attention::attention;
pub use linear::linear;
pub use norm::layer_norm;
