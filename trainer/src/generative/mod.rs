//! Generative models of latents.

pub mod diffusion;
