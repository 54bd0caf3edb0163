//! The symbol with which the binary enables MKL's fast kernels.

use std::process::Command;

#[test]
fn the_binary_exports_the_replacement_of_mkls_cpu_check() {
    let mut nm = Command::new("nm");
    let output =
        nm.args(["-D", "--defined-only", env!("CARGO_BIN_EXE_capsmith")]).output().unwrap();
    let symbols = String::from_utf8(output.stdout).unwrap();
    assert!(symbols.contains(" T mkl_serv_intel_cpu_true"), "{symbols}");
}
