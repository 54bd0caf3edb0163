//! Compiles the few lines of C++ that tch has no binding for, and lets this package's tests find
//! libtorch without `LD_LIBRARY_PATH`.

use std::path::Path;

const CONTEXT: &str = "src/context.cpp";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={CONTEXT}");
    if let Ok(directory) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        let mut context = cc::Build::new();
        context.cpp(true).std("c++17").warnings(false).file(CONTEXT);
        if let Some(root) = Path::new(&directory).parent() {
            context.include(root.join("include"));
        }
        context.compile("capsmith-context");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{directory}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    }
}
