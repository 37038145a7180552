//! Whether cells of a guide are of two kinds.
