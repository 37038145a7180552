//! syncyte trainer
