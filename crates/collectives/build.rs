//! Compiles the bindings to c10d, if enabled, and sets the rpath to libtorch for this package's
//! tests.

use std::path::{Path, PathBuf};

const C10D: &str = "src/c10d.cpp";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={C10D}");
    println!("cargo:rerun-if-changed=stubs");
    let Ok(directory) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{directory}");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    if std::env::var_os("CARGO_FEATURE_GLOO").is_none() {
        return;
    }
    let mut c10d = cc::Build::new();
    c10d.cpp(true).std("c++17").warnings(false).include("stubs").file(C10D);
    let root = Path::new(&directory).parent().map(Path::to_owned).unwrap_or_default();
    c10d.include(root.join("include")).include(root.join("include/torch/csrc/api/include"));
    if std::env::var_os("CARGO_FEATURE_NCCL").is_some() {
        c10d.define("CAPSMITH_NCCL", None);
        for folder in cuda_headers(&root) {
            c10d.include(folder);
        }
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo:rustc-link-lib=torch_cuda");
        println!("cargo:rustc-link-search=native={directory}");
    }
    c10d.compile("capsmith-c10d");
}

/// Returns include folders of CUDA and NCCL: under `CUDA_HOME`, and in NVIDIA's Python packages
/// next to libtorch.
fn cuda_headers(libtorch: &Path) -> Vec<PathBuf> {
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    let cuda = std::env::var_os("CUDA_HOME").map(PathBuf::from).into_iter();
    let packages = libtorch.parent().map(|site| site.join("nvidia"));
    let packages = packages.and_then(|nvidia| nvidia.read_dir().ok()).into_iter().flatten();
    let beside = packages.flatten().map(|package| package.path());
    cuda.chain(beside).map(|root| root.join("include")).filter(|path| path.is_dir()).collect()
}
