// What tch does not reach of libtorch's global context.
#include <ATen/Context.h>

extern "C" void capsmith_allow_tf32(bool allowed) {
    at::globalContext().setAllowTF32CuBLAS(allowed);
}
