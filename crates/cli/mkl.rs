//! Enables MKL's AVX-512 kernels on CPUs of other vendors than Intel.
//!
//! libtorch's wheel multiplies f32 matrices on the CPU with MKL, which calls its own function
//! `mkl_serv_intel_cpu_true` and leaves AVX-512 unused if that returns 0. The function is an
//! ordinary exported symbol, so an executable can replace it. MKL checks the CPU's instruction set
//! separately, so it never uses an instruction that the CPU lacks.
//!
//! Only the `capsmith` binary exports the symbol: a library must not change MKL for its users.

use std::ffi::c_int;

/// Replaces MKL's check for an Intel CPU: always true.
#[unsafe(no_mangle)]
extern "C" fn mkl_serv_intel_cpu_true() -> c_int {
    1
}

/// Refers to the function, as linkers drop unreferenced ones.
pub fn keep_symbol() {
    std::hint::black_box(mkl_serv_intel_cpu_true as extern "C" fn() -> c_int);
}
