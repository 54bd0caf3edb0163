// Bindings to c10d, the engine of torch.distributed: process groups, collectives on tensors, and
// gradient hooks. No exception crosses the boundary: functions return the error as a malloc'ed
// string, or null.
#define USE_C10D_GLOO
#ifdef CAPSMITH_NCCL
#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstring>
#include <exception>
#include <memory>
#include <string>

namespace {

template <typename F>
char* guarded(F&& work) {
  try {
    work();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an unknown exception");
  }
}

} // namespace

struct capsmith_group {
  c10::intrusive_ptr<c10d::Backend> backend;
};

struct capsmith_work {
  c10::intrusive_ptr<c10d::Work> work;
};

extern "C" {

// Connects to the other processes at host:port, where rank 0 listens unless `agent_listens`.
char* capsmith_group_new(
    capsmith_group** out,
    bool nccl,
    const char* host,
    uint16_t port,
    int rank,
    int size,
    bool agent_listens,
    const char* prefix,
    const char* interface,
    int64_t timeout_ms) {
  return guarded([&] {
    std::chrono::milliseconds timeout(timeout_ms);
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = rank == 0 && !agent_listens;
    options.numWorkers = agent_listens ? std::nullopt : std::optional<std::size_t>(size);
    options.timeout = timeout;
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    auto store = c10::make_intrusive<c10d::PrefixStore>(prefix, tcp);
    if (nccl) {
#ifdef CAPSMITH_NCCL
      auto nccl_options = c10d::ProcessGroupNCCL::Options::create();
      nccl_options->timeout = timeout;
      *out = new capsmith_group{
          c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, nccl_options)};
      return;
#else
      TORCH_CHECK(false, "built without NCCL");
#endif
    }
    auto gloo_options = c10d::ProcessGroupGloo::Options::create(timeout);
    gloo_options->devices.push_back(
        *interface ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                   : c10d::ProcessGroupGloo::createDefaultDevice());
    *out = new capsmith_group{
        c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, gloo_options)};
  });
}

void capsmith_group_free(capsmith_group* group) {
  // If the group cannot be shut down, it ends with the process.
  free(guarded([&] { delete group; }));
}

// Starts to sum a tensor over all processes, in place.
char* capsmith_all_reduce(capsmith_group* group, at::Tensor* tensor, capsmith_work** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    *out = new capsmith_work{group->backend->allreduce(tensors)};
  });
}

// Starts to copy rank 0's tensor to all processes, in place.
char* capsmith_broadcast(capsmith_group* group, at::Tensor* tensor, capsmith_work** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    *out = new capsmith_work{group->backend->broadcast(tensors)};
  });
}

// Waits for an operation, and frees it.
char* capsmith_wait(capsmith_work* work) {
  std::unique_ptr<capsmith_work> owned(work);
  return guarded([&] { owned->work->wait(); });
}

// Calls `receive` with each gradient of a leaf during backward passes.
char* capsmith_hook(
    at::Tensor* leaf,
    void (*receive)(void* data, size_t index, at::Tensor* gradient),
    void* data,
    size_t index,
    unsigned* out) {
  return guarded([&] {
    *out = leaf->register_hook([=](const at::Tensor& gradient) {
      at::Tensor copy = gradient;
      receive(data, index, &copy);
    });
  });
}

void capsmith_unhook(at::Tensor* leaf, unsigned hook) {
  free(guarded([&] { leaf->remove_hook(hook); }));
}

} // extern "C"
