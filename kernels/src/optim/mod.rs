//! The optimizer step on flat state: global norm of the gradient, `AdamW` with decoupled weight decay, EMA of the
//! teacher, bfloat16 copies; and conversions to and from bfloat16.
//!
//! Guarantee: every function is a pure function of its slices, with a fixed order of operations, so equal inputs give
//! equal bits on every rank, on every processor, and however a caller cuts the slices for its threads. Nothing here
//! allocates per element or starts threads.
//!
//! A step is two passes over memory: [`gradient_norm`] reads the gradients, and [`update`] does all the rest.

mod convert;
mod norm;
mod slices;
#[cfg(test)]
mod tests;
mod update;

pub use convert::{to_bf16, to_f32};
pub use norm::{GradientNorm, NORM_BLOCK, gradient_norm, square_sums};
pub use slices::{Gradients, Slices, Teacher};
pub(crate) use update::Constants;
pub use update::{AdamW, ema, update, update_reference};
