//! Compiles the C++ bindings that tch lacks, and sets the rpath to libtorch for this package's
//! tests.

use std::path::Path;

const SOURCE: &str = "src/libtorch/bindings.cpp";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={SOURCE}");
    if let Ok(directory) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").warnings(false).file(SOURCE);
        if let Some(root) = Path::new(&directory).parent() {
            build.include(root.join("include"));
        }
        build.compile("capsmith-libtorch");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{directory}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    }
}
