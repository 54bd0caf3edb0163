// What libtorch asks of a device type: generator, guard with streams and events, hooks.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "memory.h"

namespace {

/// The device's generator: one for the processor, seeded and advanced apart.
struct DeviceGenerator final : c10::GeneratorImpl {
  at::Generator inner = at::detail::createCPUGenerator();

  explicit DeviceGenerator(DeviceIndex index)
      : GeneratorImpl(Device(GPU, index), c10::DispatchKeySet(DispatchKey::CUDA)) {}

  void set_current_seed(uint64_t seed) override {
    Ledger::get().step(std::to_string(seed));
    inner.set_current_seed(seed);
  }
  void set_offset(uint64_t) override { TORCH_CHECK(false, "pretend CUDA: no offsets"); }
  uint64_t get_offset() const override { TORCH_CHECK(false, "pretend CUDA: no offsets"); }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return at::Generator(inner).seed(); }
  void set_state(const c10::TensorImpl& state) override {
    inner.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return inner.unsafeGetGeneratorImpl()->get_state();
  }
  DeviceGenerator* clone_impl() const override {
    auto* copy = new DeviceGenerator(device().index());
    copy->inner = inner.clone();
    return copy;
  }
};

const at::Generator& default_generator(DeviceIndex index) {
  static auto* all = [] {
    auto* made = new std::vector<at::Generator>;
    for (DeviceIndex i = 0; i < device_count(); ++i)
      made->push_back(at::make_generator<DeviceGenerator>(i));
    return made;
  }();
  if (index < 0) index = current_device;
  TORCH_CHECK(index < DeviceIndex(all->size()), "CUDA error: invalid device ordinal");
  return (*all)[index];
}

at::CPUGeneratorImpl* as_cpu(const at::Generator& generator) {
  return static_cast<at::CPUGeneratorImpl*>(generator.unsafeGetGeneratorImpl());
}

void copy_state(at::CPUGeneratorImpl* to, at::CPUGeneratorImpl* from) {
  to->set_engine(from->engine());
  to->set_next_float_normal_sample(from->next_float_normal_sample());
  to->set_next_double_normal_sample(from->next_double_normal_sample());
}

/// While it lives, kernels that draw from the processor's default generator draw from the device's.
class DrawsFromDevice {
 public:
  DrawsFromDevice() {
    auto* device =
        static_cast<DeviceGenerator*>(default_generator(current_device).unsafeGetGeneratorImpl());
    device_ = as_cpu(device->inner);
    host_ = as_cpu(at::detail::getDefaultCPUGenerator());
    copy_state(saved_.get(), host_);
    copy_state(host_, device_);
  }
  ~DrawsFromDevice() {
    copy_state(device_, host_);
    copy_state(host_, saved_.get());
  }

 private:
  std::unique_ptr<at::CPUGeneratorImpl> saved_ = std::make_unique<at::CPUGeneratorImpl>();
  at::CPUGeneratorImpl *host_, *device_;
};

struct PretendGuard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return GPU; }
  Device exchangeDevice(Device device) const override {
    Device before(GPU, current_device);
    setDevice(device);
    return before;
  }
  Device getDevice() const override { return Device(GPU, current_device); }
  void setDevice(Device device) const override {
    TORCH_CHECK(device.index() < device_count(), "CUDA error: invalid device ordinal");
    uncheckedSetDevice(device);
  }
  void uncheckedSetDevice(Device device) const noexcept override {
    if (device.index() >= 0) current_device = device.index();
  }
  c10::Stream getStream(Device device) const override { return stream(device); }
  c10::Stream getDefaultStream(Device device) const override { return stream(device); }
  c10::Stream getStreamFromGlobalPool(Device device, bool) const override { return stream(device); }
  c10::Stream getNewStream(Device device, int) const override { return stream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  DeviceIndex deviceCount() const noexcept override { return device_count(); }
  void record(void** event, const c10::Stream&, DeviceIndex, c10::EventFlag) const override {
    if (!*event) *event = new Recorded;
    auto held = Ledger::get().lock();
    Ledger::get().line("event", "recorded");
    *static_cast<Recorded*>(*event) = {Underway::get().last(), Ledger::get().now.ops};
  }
  void destroyEvent(void* event, DeviceIndex) const noexcept override {
    delete static_cast<Recorded*>(event);
  }
  void block(void*, const c10::Stream&) const override {}
  /// Not over when first asked, and then over.
  bool queryEvent(void* event) const override {
    auto* recorded = static_cast<Recorded*>(event);
    if (!recorded || recorded->is_over) return true;
    if (!std::exchange(recorded->was_asked, true)) return false;
    end(recorded);
    return true;
  }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {
    Underway::get().wait("synchronizeStream");
  }
  void synchronizeEvent(void* event) const override {
    auto* recorded = static_cast<Recorded*>(event);
    if (!recorded || recorded->is_over) return;
    if (Ledger::get().now.ops == recorded->operators)
      return Underway::get().wait("synchronizeEvent");
    Ledger::get().event_wait("synchronizeEvent");
    end(recorded);
  }
  void synchronizeDevice(DeviceIndex) const override { Underway::get().wait("synchronizeDevice"); }
  double elapsedTime(void*, void*, DeviceIndex) const override { return 0; }

 private:
  /// What was enqueued before an event.
  struct Recorded {
    uint64_t copies = 0, operators = 0;
    bool was_asked = false, is_over = false;
  };

  static void end(Recorded* recorded) {
    Underway::get().arrive(recorded->copies);
    recorded->is_over = true;
  }

  static c10::Stream stream(Device device) {
    return c10::Stream(c10::Stream::DEFAULT,
                       Device(GPU, device.index() < 0 ? current_device : device.index()));
  }
};

C10_REGISTER_GUARD_IMPL(CUDA, PretendGuard)

}  // namespace

namespace at {

// libtorch looks for the name "CUDAHooks".
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return device_count() > 0; }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  long versionCUDART() const override { return 13000; }
  int getNumGPUs() const override { return device_count(); }
  DeviceIndex deviceCount() const override { return device_count(); }
  DeviceIndex current_device() const override { return ::current_device; }
  DeviceIndex getCurrentDevice() const override { return ::current_device; }
  void setCurrentDevice(DeviceIndex index) const override {
    PretendGuard().setDevice(Device(GPU, index));
  }
  DeviceIndex exchangeDevice(DeviceIndex index) const override {
    return PretendGuard().exchangeDevice(Device(GPU, index)).index();
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override {
    return exchangeDevice(index);
  }
  Device getDeviceFromPtr(void*) const override { return Device(GPU, 0); }
  const Generator& getDefaultGenerator(DeviceIndex index) const override {
    return default_generator(index);
  }
  Generator getNewGenerator(DeviceIndex index) const override {
    return make_generator<DeviceGenerator>(index < 0 ? ::current_device : index);
  }
  bool isPinnedPtr(const void* data) const override { return PinnedAllocator::holds(data); }
  Allocator* getPinnedMemoryAllocator() const override {
    static auto* allocator = new PinnedAllocator;
    return allocator;
  }
  Allocator* getCUDADeviceAllocator() const override { return device_allocator(); }
  std::string showConfig() const override { return "pretend CUDA"; }
  void deviceSynchronize(DeviceIndex) const override { Underway::get().wait("deviceSynchronize"); }
};

REGISTER_CUDA_HOOKS(CUDAHooks)

}  // namespace at
