//! Compiles the C++ beside libtorch.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=src/shim/autograd.cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let include = PathBuf::from(env::var_os("LIBTORCH").unwrap_or_default()).join("include");
    assert!(
        include.join("torch/csrc/autograd/function.h").is_file(),
        "no libtorch headers in {}; set LIBTORCH, or build with `make build`, which does",
        include.display()
    );
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .file("src/shim/autograd.cpp")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .warnings(false)
        .compile("syncyte_autograd");
}
