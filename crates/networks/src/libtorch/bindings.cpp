// libtorch functions without a binding in tch. No exception crosses the boundary: functions that
// can fail return the error as a malloc'ed string, or null.
#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
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

// Result of an operator that has no function in libtorch's headers.
at::Tensor boxed(const char* name, std::vector<c10::IValue> arguments) {
    c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(arguments);
    return arguments.at(0).toTensor();
}

// Autograd function of `index_rows`, whose backward pass is a gather.
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

// Applies to matrix products, cuDNN convolutions and recurrent networks; returns the setting before.
bool capsmith_allow_tf32(bool allowed) {
    bool before = at::globalContext().allowTF32CuBLAS();
    at::globalContext().setAllowTF32CuBLAS(allowed);
    at::globalContext().setAllowTF32CuDNN(allowed);
    return before;
}

// Attention by cuDNN on GPUs; returns the setting before.
bool capsmith_allow_cudnn_attention(bool allowed) {
    bool before = at::globalContext().userEnabledCuDNNSDP();
    at::globalContext().setSDPUseCuDNN(allowed);
    return before;
}

// Selects deterministic algorithms; operations without one throw. Uninitialised memory is not
// filled, as nothing here reads it.
void capsmith_deterministic(bool only) {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(only, false);
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(only);
    context.setBenchmarkCuDNN(false);
}

// Allocates an uninitialised tensor in page-locked host memory, for asynchronous copies to a GPU.
char* capsmith_empty_pinned(const int64_t* size, size_t dimensions, int8_t kind, at::Tensor** out) {
    return guarded([&] {
        auto options = at::TensorOptions(static_cast<at::ScalarType>(kind)).pinned_memory(true);
        *out = new at::Tensor(at::empty(at::IntArrayRef(size, dimensions), options));
    });
}

// Returns rows[from]; the gradient of row i is that of result back[i].
char* capsmith_index_rows(
    const at::Tensor* rows, const at::Tensor* from, const at::Tensor* back, at::Tensor** out) {
    return guarded([&] { *out = new at::Tensor(IndexRows::apply(*rows, *from, *back)); });
}

// Returns gelu(bias + rows @ weight) in one kernel; on a GPU with the tanh approximation.
char* capsmith_addmm_gelu(
    const at::Tensor* bias, const at::Tensor* rows, const at::Tensor* weight, at::Tensor** out) {
    return guarded([&] {
        *out = new at::Tensor(at::_addmm_activation(*bias, *rows, *weight, 1, 1, /*use_gelu=*/true));
    });
}

// Brings a linear layer's weight `[outputs, inputs]` into oneDNN's layout for that many rows.
char* capsmith_pack_linear(const at::Tensor* weight, int64_t rows, at::Tensor** out) {
    return guarded([&] { *out = new at::Tensor(boxed("mkldnn::_reorder_linear_weight", {*weight, rows})); });
}

// Returns function(rows @ weight.T + bias) for a packed weight; the bias may be null.
char* capsmith_packed_linear(
    const at::Tensor* rows,
    const at::Tensor* weight,
    const at::Tensor* bias,
    const char* function,
    const char* variant,
    at::Tensor** out) {
    return guarded([&] {
        *out = new at::Tensor(boxed(
            "mkldnn::_linear_pointwise",
            {*rows, *weight, optional(bias), function, c10::List<std::optional<at::Scalar>>(), variant}));
    });
}

// Writes the L2 norm of each tensor to `out`, as scalars.
char* capsmith_foreach_norm(at::Tensor* const* tensors, size_t count, at::Tensor** out) {
    return guarded([&] {
        auto norms = at::_foreach_norm(list(tensors, count), 2);
        for (size_t i = 0; i < count; ++i) out[i] = new at::Tensor(norms[i]);
    });
}

// Adds each tensor of `from` to the corresponding one of `to`.
char* capsmith_foreach_add(at::Tensor* const* to, at::Tensor* const* from, size_t count) {
    return guarded([&] { at::_foreach_add_(list(to, count), list(from, count)); });
}

// Copies each tensor of `from` over the corresponding one of `to`, converting its type.
char* capsmith_foreach_copy(at::Tensor* const* to, at::Tensor* const* from, size_t count) {
    return guarded([&] { at::_foreach_copy_(list(to, count), list(from, count)); });
}

// Sets `found` to 1 if a value is infinite or NaN: the check of torch.amp.GradScaler, with a
// `scale` of 1, by which it multiplies the values.
char* capsmith_mark_non_finite(const at::Tensor* values, const at::Tensor* found, const at::Tensor* scale) {
    return guarded([&] {
        at::Tensor mark = *found;
        at::_amp_foreach_non_finite_check_and_unscale_({*values}, mark, *scale);
    });
}

// Fused step of torch.optim.AdamW. `step` is a float scalar on the device. `grad_scale` divides
// gradients in place, and `found_inf` 1 skips the update; both may be null.
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

// Records an event after all work queued so far on a GPU's current stream.
char* capsmith_record_event(int8_t gpu, c10::Event** out) {
    return guarded([&] {
        const c10::Device device(c10::DeviceType::CUDA, gpu);
        const c10::impl::VirtualGuardImpl gpus(device.type());
        auto event = std::make_unique<c10::Event>(device.type());
        event->record(gpus.getStream(device));
        *out = event.release();
    });
}

// Waits on the host until the GPU has reached the event.
char* capsmith_wait_for_event(const c10::Event* event) {
    return guarded([&] { event->synchronize(); });
}

void capsmith_free_event(c10::Event* event) { delete event; }
// Writes libtorch's build description, including CUDA's if its library is loaded, as a malloc'ed
// string to `out`.
char* capsmith_configuration(char** out) {
    return guarded([&] { *out = strdup(at::show_config().c_str()); });
}

// Writes the peak bytes allocated for tensors on a GPU since the last reset to `out`.
char* capsmith_peak_memory(int8_t gpu, int64_t* out) {
    return guarded([&] { *out = gpu_allocator()->getDeviceStats(gpu).allocated_bytes[0].peak; });
}

char* capsmith_reset_peak_memory(int8_t gpu) {
    return guarded([&] { gpu_allocator()->resetPeakStats(gpu); });
}

} // extern "C"
