// The boxed kernel of most operators: lends the device's tensors to the processor's kernel.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/as_strided_native.h>

#include "device.h"
#include "rules.h"

namespace {

/// A tensor of the processor with the bytes of one of the device.
Tensor lend(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return tensor;
  TORCH_CHECK(tensor.layout() == c10::kStrided, "pretend CUDA: strided tensors only");
  const auto& held = tensor.storage();
  void* bytes = Arena::get().reach(held.data());
  auto storage =
      c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), held.nbytes(),
                                            c10::DataPtr(
                                                bytes, nullptr, [](void*) {}, c10::DeviceType::CPU),
                                            c10::GetAllocator(c10::DeviceType::CPU), true);
  auto lent = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(std::move(storage)), c10::DispatchKeySet(DispatchKey::CPU), tensor.dtype());
  auto* impl = lent.unsafeGetTensorImpl();
  impl->set_storage_offset(tensor.storage_offset());
  impl->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return lent;
}

Tensor empty_on_device(at::IntArrayRef size, at::IntArrayRef stride, at::ScalarType type) {
  return at::detail::empty_strided_generic(size, stride, device_allocator(),
                                           c10::DispatchKeySet(DispatchKey::CUDA), type);
}

/// A kernel's result, moved to the device.
Tensor moved(const Tensor& made) {
  if (!made.defined()) return made;
  bool dense = made.is_non_overlapping_and_dense();
  auto source = dense ? made : made.contiguous();
  auto there = empty_on_device(source.sizes(), source.strides(), source.scalar_type());
  if (source.numel() > 0)
    std::memcpy(Arena::get().reach(there.data_ptr()), source.data_ptr(), source.nbytes());
  return there;
}

void set_size(const Tensor& tensor, at::IntArrayRef size, at::IntArrayRef stride) {
  c10::DeviceGuard guard(tensor.device());
  auto* impl = tensor.unsafeGetTensorImpl();
  size_t wanted = at::detail::computeStorageNbytes(size, stride, tensor.dtype().itemsize(),
                                                   tensor.storage_offset());
  auto* storage = tensor.storage().unsafeGetStorageImpl();
  if (wanted > storage->nbytes()) {
    auto bytes = device_allocator()->allocate(wanted);
    if (storage->nbytes() > 0)
      std::memcpy(Arena::get().reach(bytes.get()), Arena::get().reach(storage->data()),
                  storage->nbytes());
    storage->set_data_ptr_noswap(std::move(bytes));
    storage->set_nbytes(wanted);
  }
  impl->set_sizes_and_strides(size, stride);
}

/// The tensors of one call: lends them, and takes back what comes out.
class Call {
 public:
  explicit Call(const c10::OperatorHandle& op) : op_(op), rule_(rule_of(op.operator_name())) {}

  Tensor give(const Tensor& tensor, const std::string& argument) {
    if (!tensor.defined()) return tensor;
    if (!tensor.is_cuda()) {
      strangers_.push_back({tensor, argument});
      return tensor;
    }
    has_mask_ |= argument == "indices" &&
                 (tensor.scalar_type() == at::kBool || tensor.scalar_type() == at::kByte);
    if (lent_.empty()) {
      device_ = tensor.device();
    } else if (tensor.device() != device_) {
      refuse(tensor.device(), argument);
    }
    for (auto& pair : lent_)
      if (pair.own.is_same(tensor)) return pair.lent;
    lent_.push_back({tensor, lend(tensor), tensor.storage().data()});
    return lent_.back().lent;
  }

  /// As the real library does: where it says so all tensors must be on one device; elsewhere
  /// numbers may come from the host, and an index's indices, which are then copied.
  void check() {
    if (setting("PRETEND_CUDA_MIX") || lent_.empty()) return;
    const auto& name = op_.operator_name().name;
    bool is_index =
        name == "aten::index" || name == "aten::index_put_" || name == "aten::_index_put_impl_";
    for (auto& [tensor, argument] : strangers_) {
      if (is_index && argument == "indices") {
        auto& ledger = Ledger::get();
        auto held = ledger.lock();
        ++ledger.now.to_device;
        ledger.now.to_device_bytes += tensor.nbytes();
        ++ledger.now.to_device_waits;
        Underway::get().wait("indices of " + name + " from the host");
      } else if (rule_.checks_devices || tensor.dim() > 0) {
        refuse(tensor.device(), argument);
      }
    }
  }

  Tensor take(const Tensor& result) {
    if (!result.defined() || result.is_cuda()) return result;
    for (auto& pair : lent_)
      if (pair.lent.is_same(result)) return pair.own;
    for (auto& [tensor, argument] : strangers_)
      if (tensor.is_same(result)) return result;
    if (result.has_storage() && Arena::get().in_kernels(result.storage().data())) {
      for (auto& pair : lent_)
        if (Arena::get().reach(pair.own.storage().data()) == result.storage().data())
          return at::native::as_strided_tensorimpl(pair.own, result.sizes(), result.strides(),
                                                   result.storage_offset());
    }
    return moved(result);
  }

  /// Results that a kernel gave another size, or other memory.
  void settle() {
    for (auto& pair : lent_) {
      bool moved_away = pair.lent.storage().data() != Arena::get().reach(pair.bytes);
      if (!moved_away && pair.lent.sizes() == pair.own.sizes() &&
          pair.lent.strides() == pair.own.strides())
        continue;
      set_size(pair.own, pair.lent.sizes(), pair.lent.strides());
      if (moved_away) lend(pair.own).copy_(pair.lent);
    }
  }

  std::string shape() const {
    if (lent_.empty()) return "";
    return " " + std::string(c10::str(lent_[0].own.sizes())) + " " +
           c10::toString(lent_[0].own.scalar_type());
  }

  /// Of the tensors; where there are none, the current one.
  Device device() const { return lent_.empty() ? Device(GPU, current_device) : device_; }
  const Rule& rule() const { return rule_; }
  /// Whether it is indexed by a mask, whose rows have to be counted.
  bool has_mask() const { return has_mask_; }
  bool has_full_precision_product() const {
    return !lent_.empty() && lent_[0].own.scalar_type() == at::kFloat;
  }

 private:
  struct Pair {
    Tensor own, lent;
    const void* bytes;
  };

  [[noreturn]] void refuse(Device device, const std::string& argument) {
    TORCH_CHECK(false, "Expected all tensors to be on the same device, but got ", argument,
                " is on ", device, ", different from other tensors on ", device_,
                " (when checking argument in method ", op_.operator_name(), ")");
  }

  const c10::OperatorHandle& op_;
  Rule rule_;
  Device device_{GPU, 0};
  bool has_mask_ = false;
  std::vector<Pair> lent_;
  std::vector<std::pair<Tensor, std::string>> strangers_;
};

/// Counts an operator on lists as one launch where the real library has one kernel for all: tensors
/// of one type in each list, dense, and alike in their sizes and strides between lists. Elsewhere
/// it launches one for each.
uint64_t launches(const std::string& name, const std::vector<std::vector<Tensor>>& lists) {
  if (name.rfind("aten::_foreach_", 0) != 0 || lists.empty()) return 1;
  const auto& first = lists[0];
  for (const auto& list : lists) {
    if (list.size() != first.size()) return first.size();
    for (size_t i = 0; i < list.size(); ++i) {
      bool alike = list[i].is_cuda() && list[i].scalar_type() == list[0].scalar_type() &&
                   list[i].is_non_overlapping_and_dense() && list[i].sizes() == first[i].sizes() &&
                   list[i].strides() == first[i].strides();
      if (!alike) return first.size();
    }
  }
  return 1;
}

/// Notes with what precision a real GPU would multiply numbers of 32 bits.
void note_precision(const std::string& name, const Call& call) {
  static const std::set<std::string> products = {"aten::mm", "aten::addmm", "aten::bmm",
                                                 "aten::baddbmm"};
  if (!call.has_full_precision_product()) return;
  auto& context = at::globalContext();
  if (products.count(name))
    Ledger::get().remark(std::string("f32 matrix products: TF32 ") +
                         (context.allowTF32CuBLAS() ? "allowed" : "not allowed"));
  if (name == "aten::convolution")
    Ledger::get().remark(std::string("f32 convolutions: TF32 ") +
                         (context.allowTF32CuDNN(at::Float32Op::CONV) ? "allowed" : "not allowed"));
}

/// Any operator: its tensors are lent to the processor's kernel.
void run(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const auto& name = op.operator_name().name;
  size_t first = stack->size() - arguments.size();
  Call call(op);
  std::vector<std::vector<Tensor>> lists;
  for (size_t i = 0; i < arguments.size(); ++i) {
    c10::IValue& value = (*stack)[first + i];
    const auto& argument = arguments[i].name();
    if (value.isTensor()) {
      value = call.give(value.toTensor(), argument);
    } else if (value.isTensorList()) {
      c10::List<Tensor> lent;
      lists.push_back(value.toTensorVector());
      for (const Tensor& tensor : lists.back()) lent.push_back(call.give(tensor, argument));
      value = lent;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> lent;
      for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector())
        lent.push_back(tensor ? std::optional(call.give(*tensor, argument)) : std::nullopt);
      value = lent;
    } else if (value.isDevice()) {
      value = Device(c10::kCPU);
    } else if (value.isGenerator()) {
      auto* own = dynamic_cast<DeviceGenerator*>(value.toGenerator().unsafeGetGeneratorImpl());
      TORCH_CHECK(own, "Expected a 'cuda' device type for generator but found 'cpu'");
      value = own->inner;
    }
  }
  call.check();
  c10::DeviceGuard guard(call.device());
  Ledger::get().op(c10::toString(op.operator_name()), call.shape(), launches(name, lists));
  note_precision(name, call);
  if (makes_host_wait(name)) Underway::get().wait(name);
  // `index` counts the mask's rows before it comes here.
  if (call.has_mask() && name == "aten::_index_put_impl_")
    Underway::get().wait(name + " by a mask");
  if (differs_each_time(name))
    Ledger::get().remark("may give other last bits each time on a GPU: " + name);
  {
    at::AutoDispatchBelowADInplaceOrView below;
    std::optional<DrawsFromDevice> draws;
    if (call.rule().draws) draws.emplace();
    op.callBoxed(stack);
  }
  call.settle();
  for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
    c10::IValue& value = (*stack)[i];
    if (value.isTensor()) {
      value = call.take(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> taken;
      for (const Tensor& tensor : value.toTensorVector()) taken.push_back(call.take(tensor));
      value = taken;
    }
  }
}

}  // namespace
