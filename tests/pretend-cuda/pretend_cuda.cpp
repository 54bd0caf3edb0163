// A pretend GPU: a `libtorch_cuda.so` for the processor part of libtorch, for tests without a GPU.
//
// It registers device type CUDA with libtorch (allocator, device guard, hooks, generator, kernels),
// as the real library does from its static initialisers. A kernel runs on the processor, but
// everything around it is what a program meets on a GPU:
//
// * Device memory cannot be read or written by the host. A device pointer lies in address space
// that is
//   never mapped; kernels reach the bytes at the same offset of a second range, the "kernels'
//   view". Host code that dereferences a device pointer gets SIGSEGV, with a message that says so.
// * Tensors of host and device do not mix in an operator, except where the real library lets them:
// its
//   own `native_functions.yaml`, which comes with libtorch, says where.
// * Only operators that the real library has for CUDA exist, by the same file.
// * The device has a generator of its own, pinned memory, streams that are always idle, a memory
// limit
//   with CUDA's out-of-memory error, and backward passes run on the device's own autograd thread.
// * Fresh device memory is full of NaN. What a copy from pinned memory reads is checked not to
// change
//   before the next synchronisation, and what a non-blocking copy to the host wrote is garbage
//   until then.
//
// And it counts: operators (about as many kernel launches), copies each way, and everything that
// makes the host wait. Environment:
//
//   PRETEND_CUDA_REPORT=FILE   at exit, appends the counts (- for stderr)
//   PRETEND_CUDA_STEPS=FILE    appends a CSV line of counts each time the generator is seeded,
//   which a
//                              training loop does each step, and at exit
//   PRETEND_CUDA_TRACE=FILE    one line for each operator, copy and wait; %p is the process
//   PRETEND_CUDA_STACKS=1      the report lists who waited: program+offset, for addr2line
//   PRETEND_CUDA_DEVICES=N     how many GPUs (1), of which CUDA_VISIBLE_DEVICES hides some
//   PRETEND_CUDA_MEMORY=BYTES  of all GPUs together (32 GiB)
//   PRETEND_CUDA_MIX=1         lets tensors of host and device mix
//   PRETEND_CUDA_ATTENTION=math  no fused attention
//   PRETEND_CUDA_YAML=FILE     native_functions.yaml, where it is not beside libtorch
//
// What it cannot show: times, streams running at once, other rounding, and kernels' own errors.

#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include "kernels.h"

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  const std::set<std::string> own = {"empty.memory_format",
                                     "empty_strided",
                                     "as_strided",
                                     "view",
                                     "_reshape_alias",
                                     "unfold",
                                     "resize_",
                                     "set_.source_Storage_storage_offset",
                                     "copy_",
                                     "_local_scalar_dense",
                                     "record_stream",
                                     "native_dropout",
                                     "_addmm_activation.out",
                                     "_scaled_dot_product_efficient_attention",
                                     "_scaled_dot_product_efficient_attention_backward",
                                     "_thnn_fused_lstm_cell",
                                     "_thnn_fused_lstm_cell_backward_impl"};
  m.impl("empty.memory_format", TORCH_FN(empty));
  m.impl("empty_strided", TORCH_FN(empty_strided));
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("unfold", TORCH_FN(at::native::unfold));
  m.impl("resize_", TORCH_FN(resize));
  m.impl("set_.source_Storage_storage_offset", TORCH_FN(at::native::set_storage_cpu_));
  m.impl("copy_", TORCH_FN(copy));
  m.impl("_local_scalar_dense", TORCH_FN(read_value));
  m.impl("record_stream", TORCH_FN(record_stream));
  m.impl("native_dropout", TORCH_FN(dropout));
  m.impl("_addmm_activation.out", TORCH_FN(addmm_activation));
  m.impl("_scaled_dot_product_efficient_attention", TORCH_FN(attention));
  m.impl("_scaled_dot_product_efficient_attention_backward", TORCH_FN(attention_backward));
  m.impl("_thnn_fused_lstm_cell", TORCH_FN(lstm_cell));
  m.impl("_thnn_fused_lstm_cell_backward_impl", TORCH_FN(lstm_cell_backward));
  auto any = [] { return torch::CppFunction::makeFromBoxedFunction<&run>(); };
  // Would choose among kernels that are not here; on a GPU it is one of cuDNN's.
  m.impl("convolution", any());
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& [name, rule] : rules()) {
    size_t dot = name.find('.');
    c10::OperatorName full("aten::" + name.substr(0, dot),
                           dot == std::string::npos ? "" : name.substr(dot + 1));
    if (rule.on_cuda && !own.count(name) && dispatcher.findSchema(full))
      m.impl(name.c_str(), any());
  }
}

namespace {

const bool loaded = [] {
  Ledger::get();
  Arena::get();  // before a signal handler may ask for it
  c10::SetAllocator(GPU, device_allocator());
  at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&choose_attention);
  struct sigaction action{};
  action.sa_sigaction = &on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &earlier_action);
  return true;
}();

}  // namespace

// For a test that loads this library.

/// How often the host wrote to pinned memory that a copy may still have been reading.
extern "C" uint64_t pretend_cuda_races() { return Ledger::get().races; }

/// Operators so far, and waits of the host.
extern "C" uint64_t pretend_cuda_operators() { return Ledger::get().now.ops; }
extern "C" uint64_t pretend_cuda_waits() { return Ledger::get().now.waits; }

/// Appends the counts since the last such call to the steps' file.
extern "C" void pretend_cuda_step(const char* mark) { Ledger::get().step(mark); }
