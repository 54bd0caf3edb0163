// Operators that are not the processor's kernel on the same bytes.
#pragma once

#include <ATen/native/transformers/attention.h>

#include "lending.h"

namespace {

Device device_or_current(std::optional<Device> device) {
  Device chosen = device.value_or(Device(GPU, current_device));
  return Device(GPU, chosen.index() < 0 ? current_device : chosen.index());
}

Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type, std::optional<at::Layout>,
             std::optional<Device> device, std::optional<bool> pin,
             std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  c10::DeviceGuard guard(device_or_current(device));
  return at::detail::empty_generic(size, device_allocator(), c10::DispatchKeySet(DispatchKey::CUDA),
                                   c10::dtype_or_default(type), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                     std::optional<at::ScalarType> type, std::optional<at::Layout>,
                     std::optional<Device> device, std::optional<bool> pin) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  c10::DeviceGuard guard(device_or_current(device));
  return empty_on_device(size, stride, c10::dtype_or_default(type));
}

const Tensor& resize(const Tensor& self, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  if (self.sizes() != size) set_size(self, size, c10::contiguous_strides(size));
  return self;
}

Tensor& copy(Tensor& self, const Tensor& source, bool non_blocking) {
  if (self.is_same(source)) return self;
  auto& ledger = Ledger::get();
  bool to = self.is_cuda(), from = source.is_cuda();
  at::AutoDispatchBelowADInplaceOrView below;
  if (self.numel() == 0) {
    lend(self).copy_(lend(source));
    return self;
  }
  if (to && from) {
    auto held = ledger.lock();
    ++ledger.now.copies;
    bool casts = self.scalar_type() != source.scalar_type();
    ledger.op(casts ? "copy_ (cast)" : "copy_", " " + std::string(c10::str(self.sizes())));
    lend(self).copy_(lend(source));
    return self;
  }
  auto lent = lend(self);
  lent.copy_(lend(source));
  auto held = ledger.lock();
  std::string shape =
      std::string(c10::str(self.sizes())) + " " + c10::toString(source.scalar_type());
  if (to) {
    bool pinned = PinnedAllocator::holds(source.storage().data());
    ++ledger.now.to_device;
    ledger.now.to_device_bytes += source.nbytes();
    ledger.line(non_blocking ? (pinned ? "h2d pinned" : "h2d pageable") : "h2d blocking", shape);
    // Between types a GPU converts after the copy if it does not block, the host before if it does.
    if (non_blocking && self.scalar_type() != source.scalar_type()) ledger.op("copy_ (cast)");
    if (!non_blocking) {
      ++ledger.now.to_device_waits;
      Underway::get().wait("copy to the device");
    } else if (pinned) {
      Underway::get().reads(source);
    } else {
      ++ledger.now.to_device_unpinned;
    }
  } else {
    bool pinned = PinnedAllocator::holds(self.storage().data());
    ++ledger.now.to_host;
    ledger.now.to_host_bytes += self.nbytes();
    ledger.line(non_blocking && pinned ? "d2h pinned" : "d2h blocking", shape);
    if (non_blocking && pinned) {
      Underway::get().writes(self);
    } else {
      Underway::get().wait("copy to the host");
    }
  }
  return self;
}

at::Scalar read_value(const Tensor& self) {
  auto& ledger = Ledger::get();
  {
    auto held = ledger.lock();
    ++ledger.now.scalars;
    ledger.line("d2h value", c10::toString(self.scalar_type()));
  }
  Underway::get().wait("value read");
  at::AutoDispatchBelowADInplaceOrView below;
  return at::_local_scalar_dense(lend(self));
}

void record_stream(Tensor&, c10::Stream) {}

/// As dropout on the processor, which has the same factors and draws from the same place.
std::tuple<Tensor, Tensor> dropout(const Tensor& input, double p, std::optional<bool> train) {
  c10::DeviceGuard guard(input.device());
  Ledger::get().op("aten::native_dropout", " " + std::string(c10::str(input.sizes())));
  at::AutoDispatchBelowADInplaceOrView below;
  auto lent = lend(input);
  if (!train.value_or(true)) return {moved(lent.clone()), moved(at::ones_like(lent, at::kBool))};
  DrawsFromDevice draws;
  auto noise = at::empty_like(lent).bernoulli_(1 - p).div_(1 - p);
  return {moved(lent * noise), moved(noise.ne(0))};
}

/// Linear layer and activation in one kernel, whose GELU is the approximate one there.
Tensor& addmm_activation(const Tensor& self, const Tensor& first, const Tensor& second,
                         const at::Scalar& beta, const at::Scalar& alpha, bool use_gelu,
                         Tensor& out) {
  for (const Tensor& part : {self, first, second})
    TORCH_CHECK(part.device() == out.device(),
                "Expected all tensors to be on the same device, but found ", part.device(), " and ",
                out.device());
  c10::DeviceGuard guard(out.device());
  Ledger::get().op("aten::_addmm_activation.out", " " + std::string(c10::str(first.sizes())));
  at::AutoDispatchBelowADInplaceOrView below;
  auto sum = at::addmm(lend(self), lend(first), lend(second), beta, alpha);
  if (out.sizes() != sum.sizes()) set_size(out, sum.sizes(), c10::contiguous_strides(sum.sizes()));
  lend(out).copy_(use_gelu ? at::gelu(sum, "tanh") : at::relu(sum));
  return out;
}

// Attention in one kernel, as a GPU has it. Without dropout it is the processor's own fused kernel.

int64_t choose_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                         const std::optional<Tensor>& mask, double, bool causal,
                         std::optional<double>, bool grouped) {
  const char* wanted = setting("PRETEND_CUDA_ATTENTION");
  if (wanted && std::string(wanted) == "math") return static_cast<int64_t>(at::SDPBackend::math);
  auto type = query.scalar_type();
  int64_t alignment = type == at::kFloat ? 4 : type == at::kHalf || type == at::kBFloat16 ? 8 : 0;
  auto fits = [&](const Tensor& part) {
    return part.dim() == 4 && part.numel() > 0 && part.scalar_type() == type &&
           part.stride(-1) == 1;
  };
  bool fused = alignment > 0 && fits(query) && fits(key) && fits(value) &&
               query.size(-1) % alignment == 0 && value.size(-1) % alignment == 0 && !grouped &&
               !(mask && (causal || mask->requires_grad()));
  if (!fused) Ledger::get().remark(c10::str("attention not fused: ", query.sizes(), " ", type));
  return static_cast<int64_t>(fused ? at::SDPBackend::efficient_attention : at::SDPBackend::math);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention(const Tensor& query, const Tensor& key,
                                                     const Tensor& value,
                                                     const std::optional<Tensor>& bias, bool,
                                                     double p, bool causal,
                                                     std::optional<double> scale) {
  c10::DeviceGuard guard(query.device());
  Ledger::get().op("aten::_scaled_dot_product_efficient_attention",
                   c10::str(" ", query.sizes(), " x ", key.size(2)));
  at::AutoDispatchBelowADInplaceOrView below;
  auto q = lend(query), k = lend(key), v = lend(value);
  std::optional<Tensor> mask;
  if (bias && bias->defined()) {
    TORCH_CHECK(bias->is_cuda(),
                "Expected all tensors to be on the same device, but attn_bias is on ",
                bias->device());
    mask = lend(*bias);
  }
  if (p == 0) {
    auto [out, log_sum] =
        at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, mask, scale);
    auto none = moved(at::zeros({}, at::kLong));
    return {moved(out), moved(log_sum), none, none};
  }
  DrawsFromDevice draws;
  auto state = at::detail::getDefaultCPUGenerator().get_state();
  auto [out, weights] =
      at::_scaled_dot_product_attention_math(q, k, v, mask, p, causal, std::nullopt, scale);
  return {moved(out.transpose(1, 2).contiguous().transpose(1, 2)), moved(at::zeros({1})),
          moved(state), moved(at::zeros({}, at::kLong))};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_backward(
    const Tensor& gradient, const Tensor& query, const Tensor& key, const Tensor& value,
    const Tensor& bias, const Tensor& out, const Tensor& log_sum, const Tensor& state,
    const Tensor&, double p, std::array<bool, 4> wanted, bool causal, std::optional<double> scale) {
  c10::DeviceGuard guard(query.device());
  const char* name = "aten::_scaled_dot_product_efficient_attention_backward";
  Ledger::get().op(name, c10::str(" ", query.sizes(), " x ", key.size(2)));
  Ledger::get().remark(std::string("may give other last bits each time on a GPU: ") + name);
  TORCH_CHECK(!wanted[3], "pretend CUDA: no gradient of a mask");
  at::AutoDispatchBelowADInplaceOrView below;
  auto g = lend(gradient), q = lend(query), k = lend(key), v = lend(value);
  std::optional<Tensor> mask;
  if (bias.defined()) mask = lend(bias);
  if (p == 0) {
    auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        g, q, k, v, lend(out), lend(log_sum), 0.0, causal, mask, scale);
    return {moved(dq), moved(dk), moved(dv), Tensor()};
  }
  double factor = std::sqrt(scale.value_or(1 / std::sqrt(double(q.size(-1)))));
  auto scaled_q = q * factor, scaled_k = k * factor;
  auto scores = at::matmul(scaled_q, scaled_k.transpose(-2, -1));
  if (causal)
    scores.masked_fill_(at::ones({q.size(2), k.size(2)}, at::kBool).tril_().logical_not_(),
                        -std::numeric_limits<double>::infinity());
  if (mask) scores.add_(*mask);
  auto weights = at::softmax(scores, -1);
  auto generator = at::detail::createCPUGenerator();
  generator.set_state(lend(state));
  auto noise = at::empty_like(weights).bernoulli_(1 - p, generator).div_(1 - p);
  auto dropped = weights * noise;
  auto dv = at::matmul(dropped.transpose(-2, -1), g);
  auto d_weights = at::matmul(g, v.transpose(-2, -1)) * noise;
  auto d_scores = weights * (d_weights - (d_weights * weights).sum(-1, true));
  auto dq = at::matmul(d_scores, scaled_k) * factor;
  auto dk = at::matmul(d_scores.transpose(-2, -1), scaled_q) * factor;
  return {moved(dq), moved(dk), moved(dv), Tensor()};
}

// One cell of an LSTM without cuDNN.

std::tuple<Tensor, Tensor, Tensor> lstm_cell(const Tensor& input_gates, const Tensor& hidden_gates,
                                             const Tensor& cx,
                                             const std::optional<Tensor>& input_bias,
                                             const std::optional<Tensor>& hidden_bias) {
  c10::DeviceGuard guard(cx.device());
  Ledger::get().op("aten::_thnn_fused_lstm_cell", " " + std::string(c10::str(cx.sizes())));
  at::AutoDispatchBelowADInplaceOrView below;
  auto lent = [](const std::optional<Tensor>& tensor) { return tensor ? lend(*tensor) : Tensor(); };
  auto gates = lend(hidden_gates) + lend(input_gates);
  if (auto bias = lent(input_bias); bias.defined()) gates += bias;
  if (auto bias = lent(hidden_bias); bias.defined()) gates += bias;
  auto part = gates.chunk(4, 1);
  auto in = part[0].sigmoid(), forget = part[1].sigmoid(), cell = part[2].tanh(),
       output = part[3].sigmoid();
  auto cy = (forget * lend(cx)).add_(in * cell);
  auto hy = output * cy.tanh();
  return {moved(hy), moved(cy), moved(at::cat({in, forget, cell, output}, 1))};
}

std::tuple<Tensor, Tensor, Tensor> lstm_cell_backward(const std::optional<Tensor>& grad_hy,
                                                      const std::optional<Tensor>& grad_cy,
                                                      const Tensor& cx, const Tensor& cy,
                                                      const Tensor& workspace, bool has_bias) {
  c10::DeviceGuard guard(cx.device());
  Ledger::get().op("aten::_thnn_fused_lstm_cell_backward_impl",
                   " " + std::string(c10::str(cx.sizes())));
  at::AutoDispatchBelowADInplaceOrView below;
  auto part = lend(workspace).chunk(4, 1);
  auto in = part[0], forget = part[1], cell = part[2], output = part[3];
  auto lent_cx = lend(cx);
  auto given = [&](const std::optional<Tensor>& grad) {
    return grad && grad->defined() ? lend(*grad) : at::zeros_like(lent_cx);
  };
  auto gh = given(grad_hy), gc = given(grad_cy);
  auto tanh_cy = lend(cy).tanh();
  gc = gc + gh * output * (1 - tanh_cy * tanh_cy);
  auto d_in = gc * cell * in * (1 - in), d_forget = gc * lent_cx * forget * (1 - forget);
  auto d_cell = gc * in * (1 - cell * cell), d_output = gh * tanh_cy * output * (1 - output);
  auto gates = at::cat({d_in, d_forget, d_cell, d_output}, 1);
  return {moved(gates), moved(gc * forget), has_bias ? moved(gates.sum(0)) : Tensor()};
}

}  // namespace
