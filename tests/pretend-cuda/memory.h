// Memory of the device and pinned memory of the host, and the copies between them.
#pragma once

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <signal.h>
#include <sys/mman.h>

#include "ledger.h"

namespace {

thread_local DeviceIndex current_device = 0;

DeviceIndex device_count() {
  int there = setting("PRETEND_CUDA_DEVICES") ? std::atoi(setting("PRETEND_CUDA_DEVICES")) : 1;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (!visible) return there;
  int count = 0;
  std::string list = visible;
  for (size_t from = 0; from < list.size();) {
    size_t to = std::min(list.find(',', from), list.size());
    std::string item = list.substr(from, to - from);
    if (item.empty() || item.find_first_not_of("0123456789") != std::string::npos ||
        std::atoi(item.c_str()) >= there)
      break;  // CUDA looks no further than the first that is not there
    ++count;
    from = to + 1;
  }
  return count;
}

/// Two ranges of addresses: what tensors point to, never mapped, and where kernels find the bytes.
class Arena {
 public:
  static Arena& get() {
    static auto* arena = new Arena;
    return *arena;
  }

  void* allocate(size_t wanted) {
    size_t size = (wanted + 511) / 512 * 512;
    auto& ledger = Ledger::get();
    auto held = ledger.lock();
    auto best = free_by_size_.lower_bound({size, 0});
    TORCH_CHECK_WITH(OutOfMemoryError, best != free_by_size_.end(),
                     "CUDA out of memory. Tried to allocate ", wanted, " bytes. GPU ",
                     int(current_device), " has a total capacity of ", capacity_,
                     " bytes of which ", capacity_ - ledger.bytes, " bytes is free.");
    auto [have, offset] = *best;
    remove_free(offset, have);
    if (have > size) add_free(offset + size, have - size);
    used_[offset] = size;
    ++ledger.now.allocations;
    ledger.bytes += size;
    ledger.peak_bytes = std::max(ledger.peak_bytes, ledger.bytes);
    std::memset(kernels_ + offset, 0xff, size);  // NaN in every floating-point type
    return device_ + offset;
  }

  void free(void* pointer) {
    auto& ledger = Ledger::get();
    auto held = ledger.lock();
    size_t offset = static_cast<char*>(pointer) - device_;
    auto found = used_.find(offset);
    TORCH_INTERNAL_ASSERT(found != used_.end());
    size_t size = found->second;
    used_.erase(found);
    ledger.bytes -= size;
    auto next = free_by_place_.lower_bound(offset);
    if (next != free_by_place_.end() && next->first == offset + size) {
      size_t more = next->second;
      remove_free(next->first, more);
      size += more;
    }
    next = free_by_place_.lower_bound(offset);
    if (next != free_by_place_.begin()) {
      auto [before, length] = *std::prev(next);
      if (before + length == offset) {
        remove_free(before, length);
        offset = before;
        size += length;
      }
    }
    add_free(offset, size);
  }

  bool on_device(const void* pointer) const {
    return pointer >= device_ && pointer < device_ + capacity_;
  }
  bool in_kernels(const void* pointer) const {
    return pointer >= kernels_ && pointer < kernels_ + capacity_;
  }

  /// Where kernels find what a device pointer points to.
  void* reach(const void* pointer) const {
    return pointer ? kernels_ + (static_cast<const char*>(pointer) - device_) : nullptr;
  }

 private:
  Arena() {
    const char* said = setting("PRETEND_CUDA_MEMORY");
    capacity_ = (said ? std::strtoull(said, nullptr, 10) : 32ull << 30) / 4096 * 4096;
    auto map = [&](int protection) {
      void* at =
          mmap(nullptr, capacity_, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      TORCH_CHECK(at != MAP_FAILED, "pretend CUDA: no address space");
      return static_cast<char*>(at);
    };
    device_ = map(PROT_NONE);
    kernels_ = map(PROT_READ | PROT_WRITE);
    add_free(0, capacity_);
  }

  void add_free(size_t offset, size_t size) {
    free_by_place_[offset] = size;
    free_by_size_.insert({size, offset});
  }
  void remove_free(size_t offset, size_t size) {
    free_by_place_.erase(offset);
    free_by_size_.erase({size, offset});
  }

  char *device_, *kernels_;
  size_t capacity_;
  std::map<size_t, size_t> free_by_place_, used_;
  std::set<std::pair<size_t, size_t>> free_by_size_;
};

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* at = size ? Arena::get().allocate(size) : nullptr;
    return {at, at, &release, Device(GPU, current_device)};
  }
  static void release(void* at) {
    if (at) Arena::get().free(at);
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t count) const override {
    std::memcpy(Arena::get().reach(to), Arena::get().reach(from), count);
  }
};

DeviceAllocator* device_allocator() {
  static auto* allocator = new DeviceAllocator;
  return allocator;
}

/// Copies that a GPU would still be making: nothing orders them with the host until it waits. They
/// are numbered in the order in which they were enqueued.
class Underway {
 public:
  static Underway& get() {
    static auto* all = [] {
      Ledger::get().last_checks.push_back([] { get().arrive(get().last_); });
      return new Underway;
    }();
    return *all;
  }

  /// A copy from pinned memory reads until it is waited for: the host must not write there.
  void reads(const Tensor& from) {
    if (!from.is_contiguous()) return;
    auto held = Ledger::get().lock();
    reads_.push_back(
        {++last_, from.data_ptr(), from.nbytes(), digest(from.data_ptr(), from.nbytes())});
  }

  /// A copy to pinned memory has arrived when it was waited for: until then there is garbage.
  void writes(const Tensor& to) {
    auto held = Ledger::get().lock();
    writes_.push_back({++last_, to, to.clone()});
    if (to.is_contiguous()) std::memset(to.data_ptr(), 0xcb, to.nbytes());
  }

  /// The number of the copy that was enqueued last.
  uint64_t last() {
    auto held = Ledger::get().lock();
    return last_;
  }

  /// The host waits until the device has nothing left to do.
  void wait(const std::string& why) {
    Ledger::get().wait(why);
    arrive(last());
  }

  /// All copies up to this number have ended.
  void arrive(uint64_t number) {
    auto held = Ledger::get().lock();
    for (auto& read : taken(reads_, number))
      if (digest(read.from, read.size) != read.digest) ++Ledger::get().races;
    for (auto& write : taken(writes_, number)) write.to.copy_(write.arrived);
    for (auto& block : taken(freed_, number)) std::free(block.memory);
  }

  /// CUDA's allocator of pinned memory gives a block out again when copies from it are done.
  void free_pinned(void* block) {
    auto held = Ledger::get().lock();
    if (reads_.empty())
      std::free(block);
    else
      freed_.push_back({last_, block});
  }

 private:
  struct Read {
    uint64_t number;
    const void* from;
    size_t size;
    uint64_t digest;
  };
  struct Write {
    uint64_t number;
    Tensor to, arrived;
  };
  struct Freed {
    uint64_t number;
    void* memory;
  };

  static uint64_t digest(const void* from, size_t size) {
    uint64_t hash = 1469598103934665603ull;
    auto* bytes = static_cast<const unsigned char*>(from);
    for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 1099511628211ull;
    return hash;
  }

  /// Takes out what is numbered so far.
  template <typename T>
  static std::vector<T> taken(std::vector<T>& all, uint64_t number) {
    auto end =
        std::find_if(all.begin(), all.end(), [&](const T& one) { return one.number > number; });
    std::vector<T> first(std::make_move_iterator(all.begin()), std::make_move_iterator(end));
    all.erase(all.begin(), end);
    return first;
  }

  uint64_t last_ = 0;
  std::vector<Read> reads_;
  std::vector<Write> writes_;
  std::vector<Freed> freed_;
};

struct PinnedAllocator final : c10::Allocator {
  static std::map<char*, size_t>& blocks() {
    static auto* all = new std::map<char*, size_t>;
    return *all;
  }
  c10::DataPtr allocate(size_t size) override {
    auto& ledger = Ledger::get();
    auto held = ledger.lock();
    void* at = size ? std::aligned_alloc(512, (size + 511) / 512 * 512) : nullptr;
    if (at) {
      blocks()[static_cast<char*>(at)] = size;
      ++ledger.now.pinned;
      ledger.pinned_bytes += size;
      ledger.peak_pinned_bytes = std::max(ledger.peak_pinned_bytes, ledger.pinned_bytes);
    }
    return {at, at, &release, c10::DeviceType::CPU};
  }
  static void release(void* at) {
    if (!at) return;
    auto& ledger = Ledger::get();
    auto held = ledger.lock();
    auto found = blocks().find(static_cast<char*>(at));
    ledger.pinned_bytes -= found->second;
    blocks().erase(found);
    Underway::get().free_pinned(at);
  }
  static bool holds(const void* pointer) {
    auto held = Ledger::get().lock();
    auto after = blocks().upper_bound(static_cast<char*>(const_cast<void*>(pointer)));
    if (after == blocks().begin()) return false;
    auto [start, size] = *std::prev(after);
    return pointer >= start && pointer < start + size;
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t count) const override {
    default_copy_data(to, from, count);
  }
};

struct sigaction earlier_action;

void on_fault(int signal, siginfo_t* info, void* context) {
  if (Arena::get().on_device(info->si_addr)) {
    const char text[] =
        "\npretend CUDA: the host touched device memory. On a GPU this is a crash, too. Who did "
        "it:\n";
    (void)!write(2, text, sizeof text - 1);
    void* frames[64];
    backtrace_symbols_fd(frames, backtrace(frames, 64), 2);
    _exit(139);
  }
  if (earlier_action.sa_flags & SA_SIGINFO)
    return earlier_action.sa_sigaction(signal, info, context);
  ::signal(signal, SIG_DFL);
}

}  // namespace
