//! Damaged input of every kind: an error or a sound answer, never a panic, a hang, or memory out of proportion.
//!
//! A campaign mutates sound files, bytes and JSON alike, and reads what comes of them, for `SYNCYTE_FUZZ_SECONDS` (2 in
//! `cargo test`; `scripts/fuzz.sh SECONDS` runs longer ones) from `SYNCYTE_FUZZ_SEED`. It runs in a process of its own
//! with bounded memory; a case that ends that process, or takes too long, is named by its number, with which it can be
//! run alone: `SYNCYTE_FUZZ_CASE=NUMBER`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helper functions too")]

mod campaign;
mod chunks;
mod labels;
mod metadata;
mod mutation;
mod seeds;
mod splits;
