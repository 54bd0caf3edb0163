//! Lets a package's binaries and tests find libtorch without `LD_LIBRARY_PATH`.
//!
//! This is the build script of this package and of those in `crates/` that compile no C++.

fn main() {
    // Cargo runs it again when libtorch's directory, which torch-sys reports, changes.
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if let Ok(directory) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{directory}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    }
}
