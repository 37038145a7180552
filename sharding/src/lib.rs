//! Cell stores of Syncyte: AnnData-zarr reading and writing, ingest, splits, the row order and the loader.
//!
//! This crate knows no torch, no MPI and no CUDA; it can be used by itself.

pub mod anndata;
pub mod block;
pub mod collection;
pub mod csr;
pub mod expression;
pub mod frame;
pub mod genes;
pub mod ingest;
pub mod labels;
pub mod loader;
mod mapping;
pub mod mixture;
pub mod modality;
mod near;
pub mod order;
pub mod pairing;
pub mod permutation;
pub mod philox;
pub mod residuals;
pub mod sampling;
pub mod split;
pub mod store;
pub mod sweep;
pub mod synth;
mod text;
#[cfg(test)]
mod trial;
mod whole_file;
