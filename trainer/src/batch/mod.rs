//! What the networks are given: cells in the form that an encoder reads, and what is asked about them.

pub mod blocks;
pub mod cells;
pub mod query;
pub mod view;
pub mod vocabulary;
