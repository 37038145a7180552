//! syncyte kernels
