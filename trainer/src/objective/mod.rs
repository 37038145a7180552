//! Training objectives: the VICReg family with moments of the global batch, and set distances.

pub mod distance;
pub mod moments;
pub mod vicreg;
