//! Methods × splits × metrics on held-out conditions, with bootstrap intervals.

pub mod results;
