// Functions of libtorch that tch has no binding for. Nothing is thrown through the boundary: each function
// that can fail returns the reason as text of malloc's, or null.
#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

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

std::vector<at::Tensor> list(at::Tensor* const* tensors, size_t count) {
    std::vector<at::Tensor> all;
    all.reserve(count);
    for (size_t i = 0; i < count; ++i) all.push_back(*tensors[i]);
    return all;
}

std::optional<at::Tensor> optional(const at::Tensor* tensor) {
    return tensor ? std::optional(*tensor) : std::nullopt;
}

// Rows by number, whose gradients are taken from one result each.
struct IndexRows : torch::autograd::Function<IndexRows> {
    static at::Tensor forward(
        torch::autograd::AutogradContext* context,
        const at::Tensor& rows,
        const at::Tensor& from,
        const at::Tensor& back) {
        context->save_for_backward({back});
        return rows.index_select(0, from);
    }

    static torch::autograd::variable_list backward(
        torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
        auto back = context->get_saved_variables()[0];
        return {gradients[0].index_select(0, back), at::Tensor(), at::Tensor()};
    }
};
c10::DeviceAllocator* gpu_allocator() {
    return c10::getDeviceAllocator(c10::DeviceType::CUDA);
}

} // namespace

extern "C" {

// In matrix products, in cuDNN's convolutions and in its recurrent networks.
void capsmith_allow_tf32(bool allowed) {
    at::globalContext().setAllowTF32CuBLAS(allowed);
    at::globalContext().setAllowTF32CuDNN(allowed);
}

// Only algorithms that give the same bits each time; an operation that has none throws. Memory is not
// filled: nothing here reads what it has not written.
void capsmith_deterministic(bool only) {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(only, false);
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(only);
    context.setBenchmarkCuDNN(false);
}

// An uninitialised tensor of the host in page-locked memory: what a GPU copies from without a wait.
char* capsmith_empty_pinned(const int64_t* size, size_t dimensions, int8_t kind, at::Tensor** out) {
    return guarded([&] {
        auto options = at::TensorOptions(static_cast<at::ScalarType>(kind)).pinned_memory(true);
        *out = new at::Tensor(at::empty(at::IntArrayRef(size, dimensions), options));
    });
}

// The rows that `from` names; a row's gradient is that of the result that `back` names for it.
char* capsmith_index_rows(
    const at::Tensor* rows, const at::Tensor* from, const at::Tensor* back, at::Tensor** out) {
    return guarded([&] { *out = new at::Tensor(IndexRows::apply(*rows, *from, *back)); });
}

// bias + rows @ weight through GELU, in one kernel. On a GPU that is GELU by tanh.
char* capsmith_addmm_gelu(
    const at::Tensor* bias, const at::Tensor* rows, const at::Tensor* weight, at::Tensor** out) {
    return guarded([&] {
        *out = new at::Tensor(at::_addmm_activation(*bias, *rows, *weight, 1, 1, /*use_gelu=*/true));
    });
}

// The L2 norm of each tensor, a scalar each, written to `out`.
char* capsmith_foreach_norm(at::Tensor* const* tensors, size_t count, at::Tensor** out) {
    return guarded([&] {
        auto norms = at::_foreach_norm(list(tensors, count), 2);
        for (size_t i = 0; i < count; ++i) out[i] = new at::Tensor(norms[i]);
    });
}

char* capsmith_foreach_mul(at::Tensor* const* tensors, size_t count, double factor) {
    return guarded([&] { at::_foreach_mul_(list(tensors, count), factor); });
}

// Adds each tensor of `from` to that of `to`.
char* capsmith_foreach_add(at::Tensor* const* to, at::Tensor* const* from, size_t count) {
    return guarded([&] { at::_foreach_add_(list(to, count), list(from, count)); });
}

// Copies each tensor of `from` over that of `to`, between types too.
char* capsmith_foreach_copy(at::Tensor* const* to, at::Tensor* const* from, size_t count) {
    return guarded([&] { at::_foreach_copy_(list(to, count), list(from, count)); });
}

// Sets `found` to 1 where a value is infinite or no number: the check of torch.amp.GradScaler, with
// `scale`, by which it multiplies the values, at 1.
char* capsmith_mark_non_finite(const at::Tensor* values, const at::Tensor* found, const at::Tensor* scale) {
    return guarded([&] {
        at::Tensor mark = *found;
        at::_amp_foreach_non_finite_check_and_unscale_({*values}, mark, *scale);
    });
}

// torch.optim.AdamW's fused step. `step` is a float scalar on the device. Gradients are divided by
// `grad_scale` in place, and nothing moves where `found_inf` is 1; both may be null.
char* capsmith_fused_adamw(
    at::Tensor* const* parameters,
    at::Tensor* const* gradients,
    at::Tensor* const* first_moments,
    at::Tensor* const* second_moments,
    size_t count,
    const at::Tensor* step,
    double rate,
    double beta1,
    double beta2,
    double weight_decay,
    double epsilon,
    const at::Tensor* grad_scale,
    const at::Tensor* found_inf) {
    return guarded([&] {
        at::_fused_adamw_(
            list(parameters, count), list(gradients, count), list(first_moments, count),
            list(second_moments, count), {}, std::vector<at::Tensor>(count, *step), rate, beta1, beta2,
            weight_decay, epsilon, false, false, optional(grad_scale), optional(found_inf));
    });
}

// Marks the end of the work that a GPU's current stream has been given so far.
char* capsmith_record_event(int8_t gpu, c10::Event** out) {
    return guarded([&] {
        const c10::Device device(c10::DeviceType::CUDA, gpu);
        const c10::impl::VirtualGuardImpl gpus(device.type());
        auto event = std::make_unique<c10::Event>(device.type());
        event->record(gpus.getStream(device));
        *out = event.release();
    });
}

// Lets the host wait until the GPU has come to the event.
char* capsmith_wait_for_event(const c10::Event* event) {
    return guarded([&] { event->synchronize(); });
}

void capsmith_free_event(c10::Event* event) { delete event; }
// How libtorch was built, and what it uses of the processor and, where its library is loaded, of CUDA:
// text of malloc's, written to `out`.
char* capsmith_configuration(char** out) {
    return guarded([&] { *out = strdup(at::show_config().c_str()); });
}

// The most bytes that tensors took on a GPU at a time since the last reset, written to `out`.
char* capsmith_peak_memory(int8_t gpu, int64_t* out) {
    return guarded([&] { *out = gpu_allocator()->getDeviceStats(gpu).allocated_bytes[0].peak; });
}

char* capsmith_reset_peak_memory(int8_t gpu) {
    return guarded([&] { gpu_allocator()->resetPeakStats(gpu); });
}

} // extern "C"
