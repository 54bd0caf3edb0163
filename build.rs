//! Lets this package's binaries and tests find libtorch without `LD_LIBRARY_PATH`, and gives the sources a
//! digest, by which studies know that the code has changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What is no part of the program.
const LEFT_OUT: [&str; 5] = ["tests", "benches", "examples", "xtask", "README.md"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=crates");
    println!("cargo:rerun-if-changed=Cargo.lock");
    if let Ok(directory) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{directory}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    }
    let mut digest = Sha256::new();
    for root in ["Cargo.lock", "crates"] {
        if let Err(error) = add(Path::new(root), &mut digest) {
            println!("cargo:warning=cannot read {root}: {error}");
        }
    }
    println!("cargo:rustc-env=CAPSMITH_SOURCES={}", hex::encode(digest.finalize()));
}

/// Adds a file, or all of a folder in the order of names.
fn add(path: &Path, digest: &mut Sha256) -> io::Result<()> {
    if path.file_name().is_some_and(|name| LEFT_OUT.iter().any(|left_out| name == *left_out)) {
        return Ok(());
    }
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        let mut entries = entries.collect::<io::Result<Vec<PathBuf>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add(entry, digest));
    }
    digest.update(path.to_string_lossy().as_bytes());
    digest.update(fs::read(path)?);
    Ok(())
}
