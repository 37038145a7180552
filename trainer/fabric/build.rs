//! Compiles the C function that MPI's macros need.

fn main() {
    println!("cargo:rerun-if-changed=src/collective/in_place.c");
    cc::Build::new().compiler("mpicc").file("src/collective/in_place.c").compile("syncyte_mpi");
}
