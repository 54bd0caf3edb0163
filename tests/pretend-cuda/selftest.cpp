// Checks the pretend GPU itself: it computes what the processor computes, and refuses what a GPU
// refuses.

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/cuda.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <functional>

using at::Tensor;
const at::Device GPU(at::kCUDA, 0);
int failures = 0;

void check(const char* what, bool holds) {
  std::printf("%s %s\n", holds ? "ok  " : "FAIL", what);
  failures += !holds;
}

bool refused(const std::function<void()>& run, const char* words) {
  try {
    run();
  } catch (const std::exception& error) {
    if (std::strstr(error.what(), words)) return true;
    std::printf("     %s\n", error.what());
  }
  return false;
}

int status_of(const std::function<void()>& run) {
  if (fork() == 0) {
    freopen("/dev/null", "w", stderr);
    run();
    _exit(0);
  }
  int status = 0;
  wait(&status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Results of `run` on the processor and on the pretend GPU, both seeded alike.
void same(const char* what, std::vector<Tensor> inputs, double tolerance,
          const std::function<std::vector<Tensor>(std::vector<Tensor>)>& run) {
  at::manual_seed(7);
  auto here = run(inputs);
  for (auto& input : inputs)
    input = input.detach().to(GPU).set_requires_grad(input.requires_grad());
  at::manual_seed(7);
  auto there = run(inputs);
  bool holds = here.size() == there.size();
  for (size_t i = 0; holds && i < here.size(); ++i) {
    double off = (here[i].to(at::kDouble) - there[i].to(at::kCPU).to(at::kDouble))
                     .abs()
                     .max()
                     .item<double>();
    holds = there[i].is_cuda() && off <= tolerance;
    if (!holds) std::printf("     result %zu is off by %g\n", i, off);
  }
  check(what, holds);
}

int main() {
  void* library = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  if (!library) return std::printf("%s\n", dlerror()), 1;
  check("a GPU is there", torch::cuda::is_available() && torch::cuda::device_count() == 1);

  // What crashes on a GPU.
  auto some = at::ones({3, 4}, GPU);
  check("the host cannot read device memory",
        status_of([&] { std::printf("%f", *some.data_ptr<float>()); }) == 139);
  check("the host cannot write device memory",
        status_of([&] { *some.data_ptr<float>() = 1; }) == 139);
  check("a kernel can", some.sum().item<float>() == 12);

  // What is refused on a GPU, and what is not.
  const char* devices = "Expected all tensors to be on the same device";
  auto here = at::ones({3, 4});
  auto rows = at::tensor({0, 2});
  check("add of both devices", refused([&] { some + here; }, devices));
  check("add in place of both devices", refused([&] { some += here; }, devices));
  check("mm of both devices", refused([&] { some.mm(here.t()); }, devices));
  check("index_select by rows of the host", refused([&] { some.index_select(0, rows); }, devices));
  check("gather by rows of the host",
        refused([&] { some.gather(0, at::zeros({1, 4}, at::kLong)); }, devices));
  check("embedding of ids of the host", refused([&] { at::embedding(some, rows); }, devices));
  check("cat of both devices", refused([&] { at::cat({some, here}); }, devices));
  check("fused attention with a part on the host", refused(
                                                       [&] {
                                                         auto q = at::ones({1, 2, 4, 8}, GPU);
                                                         at::scaled_dot_product_attention(
                                                             q, q.cpu(), q);
                                                       },
                                                       ""));
  check("a number of the host may take part",
        (some * at::scalar_tensor(2)).sum().item<float>() == 24);
  check("indices of the host may", some.index({rows}).sizes() == at::IntArrayRef({2, 4}));
  check("what has no kernel for CUDA",
        refused([&] { at::_nnpack_spatial_convolution(some, some, {}, 0, 1); }, ""));
  check("too much memory",
        refused([&] { at::empty({1 << 20, 1 << 20}, GPU); }, "CUDA out of memory"));
  check("a GPU that is not there",
        refused([&] { at::empty({1}, at::Device(at::kCUDA, 3)); }, "invalid device ordinal"));

  // Copies.
  auto pinned = at::arange(1000).pin_memory();
  check("pinned memory is known", pinned.is_pinned() && !here.is_pinned());
  auto copied = pinned.to(GPU, /*non_blocking=*/true);
  check("a copy arrives", copied.sum().item<int64_t>() == 499500);
  auto late = at::empty({1000}, at::TensorOptions(at::kLong).pinned_memory(true));
  late.copy_(copied, /*non_blocking=*/true);
  check("a copy to the host has not arrived before the host waits", !late.equal(pinned));
  torch::cuda::synchronize();
  check("and has then", late.equal(pinned));
  auto races = reinterpret_cast<uint64_t (*)()>(dlsym(library, "pretend_cuda_races"));
  pinned.to(GPU, true);
  pinned.add_(1);
  torch::cuda::synchronize();
  check("writing to memory that is being copied is noticed", races() == 1);
  auto fresh = at::empty({100}, GPU);
  check("fresh memory is no number", fresh.isnan().all().item<bool>());
  auto view = at::zeros({4, 6}, GPU);
  view.narrow(1, 2, 3).t().fill_(1);
  check("views share memory", view.sum().item<float>() == 12);
  auto grown = at::empty({0}, GPU);
  at::add_out(grown, some, some);
  check("an out tensor grows", grown.sizes() == some.sizes() && grown.sum().item<float>() == 24);

  // Waits.
  auto counter = [&](const char* name) {
    return reinterpret_cast<uint64_t (*)()>(dlsym(library, name));
  };
  auto operators = counter("pretend_cuda_operators"), waits = counter("pretend_cuda_waits");
  auto counted = [](uint64_t (*count)(), const std::function<void()>& run) {
    auto before = count();
    run();
    return count() - before;
  };
  auto values = at::ones({1000}, at::TensorOptions(at::kLong).device(GPU));
  check("reading a value waits", counted(waits, [&] { values.sum().item<int64_t>(); }) == 1);
  check("so does a copy from pageable memory", counted(waits, [&] { here.to(GPU); }) == 1);
  check("so does an index by a mask", counted(waits, [&] { values.index({values > 0}); }) == 1);
  check("and writing by one", counted(waits, [&] {
                                values.index_put_({values > 0}, at::ones({}, values.options()));
                              }) == 1);
  check("an operator does not", counted(waits, [&] { values.sum(); }) == 0);
  auto stream = c10::impl::VirtualGuardImpl(at::kCUDA).getStream(GPU);
  late.fill_(0).copy_(values, true);
  c10::Event arrived(at::kCUDA);
  arrived.record(stream);
  auto later = at::zeros({1000}, at::TensorOptions(at::kLong).pinned_memory(true));
  later.copy_(values, true);
  values.sum();
  check("an event with work behind it is waited for alone",
        counted(waits, [&] { arrived.synchronize(); }) == 0 && late.eq(1).all().item<bool>() &&
            !later.eq(1).all().item<bool>());
  c10::Event polled(at::kCUDA);
  polled.record(stream);
  check("an event may be polled",
        !polled.query() && polled.query() && later.eq(1).all().item<bool>());
  c10::Event last(at::kCUDA);
  last.record(stream);
  check("the last event is waited for like the device",
        counted(waits, [&] { last.synchronize(); }) == 1);

  // Operators on lists.
  std::vector<Tensor> list{at::ones({3}, GPU), at::ones({2, 2}, GPU)};
  check("a list is one launch", counted(operators, [&] { at::_foreach_mul_(list, 2); }) == 1 &&
                                    list[1].sum().item<float>() == 8);
  check("so are its norms", counted(operators, [&] { at::_foreach_norm(list, 2); }) == 1);
  std::vector<Tensor> halves{at::zeros({3}, list[0].options().dtype(at::kBFloat16)),
                             at::zeros({2, 2}, list[0].options().dtype(at::kBFloat16))};
  check("so is a copy to another type",
        counted(operators, [&] { at::_foreach_copy_(halves, list); }) == 1 &&
            halves[0].sum().item<float>() == 6);
  std::vector<Tensor> mixed{list[0], halves[1]};
  check("tensors of two types are launched one by one",
        counted(operators, [&] { at::_foreach_mul_(mixed, 2); }) == 2);

  // Random numbers.
  at::manual_seed(5);
  auto first = at::randn({10});
  at::manual_seed(5);
  at::randn({10}, GPU);
  check("the device draws apart from the host", at::randn({10}).equal(first));

  // The same values.
  auto grads = [](Tensor loss, std::vector<Tensor> of) {
    return torch::autograd::grad({loss}, of);
  };
  auto leaf = [](at::IntArrayRef size) { return at::randn(size).set_requires_grad(true); };
  for (double p : {0.0, 0.3})
    for (bool causal : {false, true})
      same(p > 0 ? "attention with dropout" : "attention",
           {leaf({2, 3, 7, 8}), leaf({2, 3, 7, 8}), leaf({2, 3, 7, 8})}, 2e-6,
           [&](std::vector<Tensor> in) {
             auto out = at::scaled_dot_product_attention(in[0], in[1], in[2], {}, p, causal);
             auto all = grads((out * out).sum(), in);
             all.push_back(out);
             return all;
           });
  same("attention under a mask",
       {at::randn({2, 3, 7, 8}), at::randn({2, 3, 9, 8}), at::randn({2, 3, 9, 8})}, 2e-6,
       [&](std::vector<Tensor> in) {
         auto mask = at::ones({7, 9}, in[0].options().dtype(at::kBool)).tril(2);
         return std::vector{at::scaled_dot_product_attention(in[0], in[1], in[2], mask)};
       });
  same("dropout", {leaf({50, 60})}, 1e-6, [&](std::vector<Tensor> in) {
    auto out = at::dropout(in[0], 0.2, true);
    return std::vector{out, grads((out * out).sum(), in)[0]};
  });
  same("an LSTM",
       {leaf({5, 6, 4}), leaf({1, 5, 3}), leaf({1, 5, 3}), leaf({12, 4}), leaf({12, 3}), leaf({12}),
        leaf({12})},
       2e-6, [&](std::vector<Tensor> in) {
         auto [out, h, c] = at::lstm(in[0], {in[1], in[2]}, {in[3], in[4], in[5], in[6]}, true, 1,
                                     0.0, true, false, true);
         auto all = grads((out * out).sum() + (h * c).sum(), in);
         all.push_back(out);
         return all;
       });
  same("a convolution", {leaf({2, 3, 8, 8}), leaf({5, 3, 2, 2})}, 1e-4,
       [&](std::vector<Tensor> in) {
         auto out = at::conv2d(in[0], in[1], {}, at::IntArrayRef({2, 2}));
         auto all = grads((out * out).sum(), in);
         all.push_back(out);
         return all;
       });
  auto approximate = [&] {
    auto x = at::randn({3, 5}), w = at::randn({5, 4}), b = at::randn({4});
    auto fused = at::_addmm_activation(b.to(GPU), x.to(GPU), w.to(GPU), 1, 1, true).cpu();
    return (fused - at::gelu(at::addmm(b, x, w), "tanh")).abs().max().item<float>();
  };
  check("a linear layer's own GELU is the approximate one", approximate() < 1e-6);
  same("draws", {at::zeros({40})}, 0, [&](std::vector<Tensor> in) {
    return std::vector{at::randn_like(in[0]), at::rand_like(in[0]),
                       at::randperm(40, in[0].options().dtype(at::kLong)),
                       at::bernoulli(in[0] + 0.5)};
  });

  // What an optimizer may call in place of ten operators a parameter.
  same("fused AdamW", {at::randn({30}), at::randn({30})}, 1e-6, [&](std::vector<Tensor> in) {
    std::vector<Tensor> p{in[0].clone()}, g{in[1]}, m{at::zeros_like(p[0])},
        v{at::zeros_like(p[0])};
    std::vector<Tensor> steps{at::ones({}, in[0].options())};
    at::_fused_adamw_(p, g, m, v, {}, steps, 0.1, 0.9, 0.999, 0.01, 1e-8, false, false);
    return std::vector{p[0], m[0], v[0]};
  });
  return std::printf("%d failures\n", failures), failures != 0;
}
