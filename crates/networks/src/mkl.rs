//! MKL's fast kernels on processors that are not Intel's.
//!
//! libtorch's wheel multiplies f32 matrices on the processor with MKL. Before it looks at what the
//! processor can do, MKL asks its own function `mkl_serv_intel_cpu_true` who made it, and on one that
//! Intel did not make leaves AVX-512 unused. The function is an ordinary exported symbol, so a program
//! may answer in its place. What the processor lacks is still not used: MKL checks that separately.

use std::ffi::c_int;

/// MKL's question whether the processor is Intel's, answered with yes.
#[unsafe(no_mangle)]
pub extern "C" fn mkl_serv_intel_cpu_true() -> c_int {
    1
}

/// Makes the answer part of the program: a linker leaves out what nothing refers to.
pub(crate) fn answer_for_mkl() {
    std::hint::black_box(mkl_serv_intel_cpu_true as extern "C" fn() -> c_int);
}
