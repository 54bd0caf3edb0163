// Counts of everything that a device is asked for, and the report of them.
#pragma once

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

using at::Tensor;
using c10::Device;
using c10::DeviceIndex;
using c10::DispatchKey;

constexpr auto GPU = c10::DeviceType::CUDA;

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? value : nullptr;
}

struct Counts {
  uint64_t ops = 0, copies = 0;                          // on the device
  uint64_t to_device = 0, to_device_bytes = 0;           // all copies host to device
  uint64_t to_device_waits = 0, to_device_unpinned = 0;  // blocking; not, but from pageable memory
  uint64_t to_host = 0, to_host_bytes = 0, scalars = 0;  // copies device to host; values read
  uint64_t waits = 0;                                    // until the device has nothing left to do
  uint64_t event_waits = 0;  // for an event that has other work enqueued behind it
  uint64_t pinned = 0, allocations = 0;

  static const char* header() {
    return "ops,device_copies,h2d,h2d_bytes,h2d_blocking,h2d_unpinned,d2h,d2h_bytes,scalars,waits,"
           "event_waits,pinned,allocations";
  }
  std::array<uint64_t, 13> all() const {
    return {
        ops,        copies,        to_device, to_device_bytes, to_device_waits, to_device_unpinned,
        to_host,    to_host_bytes, scalars,   waits,           event_waits,     pinned,
        allocations};
  }
};

class Ledger {
 public:
  Counts now;
  std::map<std::string, uint64_t> by_op;
  std::map<std::string, uint64_t> by_wait;
  std::set<std::string> remarks;
  /// How often the host wrote to pinned memory that a copy may still have been reading.
  uint64_t races = 0;
  /// Called before the report is written.
  std::vector<void (*)()> last_checks;
  size_t bytes = 0, peak_bytes = 0, pinned_bytes = 0, peak_pinned_bytes = 0;

  static Ledger& get() {
    static auto* ledger = new Ledger;  // outlives every static destructor
    return *ledger;
  }

  std::unique_lock<std::recursive_mutex> lock() { return std::unique_lock(mutex_); }

  void op(const std::string& name, const std::string& shape = "", uint64_t launches = 1) {
    auto held = lock();
    now.ops += launches;
    by_op[name] += launches;
    line("op", name + shape);
  }

  void event_wait(const std::string& why) {
    auto held = lock();
    ++now.event_waits;
    line("event wait", why);
  }

  void wait(const std::string& why) {
    auto held = lock();
    ++now.waits;
    ++by_wait[why];
    line("wait", why);
    if (stacks_) ++stacks_seen_[why + stack()];
  }

  void remark(const std::string& text) {
    auto held = lock();
    remarks.insert(text);
  }

  void line(const char* kind, const std::string& text) {
    if (trace_) std::fprintf(trace_, "%s %s\n", kind, text.c_str());
  }

  void step(const std::string& mark) {
    auto held = lock();
    line("step", mark);
    if (!setting("PRETEND_CUDA_STEPS")) return;
    if (mark == last_mark_ && now.ops == before_.ops) return;
    FILE* file = std::fopen(setting("PRETEND_CUDA_STEPS"), "a");
    if (!file) return;
    if (std::ftell(file) == 0)
      std::fprintf(file, "process,until,%s,bytes,peak_bytes\n", Counts::header());
    std::fprintf(file, "%d,%s", getpid(), mark.c_str());
    auto after = now.all(), before = before_.all();
    for (size_t i = 0; i < after.size(); ++i) std::fprintf(file, ",%lu", after[i] - before[i]);
    std::fprintf(file, ",%zu,%zu\n", bytes, peak_bytes);
    std::fclose(file);
    before_ = now;
    last_mark_ = mark;
  }

  void report() {
    for (auto check : last_checks) check();
    step("exit");
    if (trace_) std::fflush(trace_);
    const char* path = setting("PRETEND_CUDA_REPORT");
    if (!path) return;
    auto held = lock();
    FILE* file = std::strcmp(path, "-") == 0 ? stderr : std::fopen(path, "a");
    if (!file) return;
    std::ifstream command("/proc/self/cmdline");
    std::string words((std::istreambuf_iterator<char>(command)), {});
    std::replace(words.begin(), words.end(), '\0', ' ');
    std::fprintf(file, "== pretend CUDA: %s\n", words.c_str());
    std::fprintf(file, "operators %lu, copies on the device %lu, allocations %lu\n", now.ops,
                 now.copies, now.allocations);
    std::fprintf(
        file,
        "host to device: %lu copies, %lu bytes; blocking %lu, from pageable memory unblocked %lu; "
        "tensors pinned %lu\n",
        now.to_device, now.to_device_bytes, now.to_device_waits, now.to_device_unpinned,
        now.pinned);
    std::fprintf(file, "device to host: %lu copies, %lu bytes; values read %lu\n", now.to_host,
                 now.to_host_bytes, now.scalars);
    std::fprintf(file, "the host waited %lu times, and for %lu earlier events\n", now.waits,
                 now.event_waits);
    if (races > 0)
      std::fprintf(file, "RACE: pinned memory was written to under a copy from it, %lu times\n",
                   races);
    std::fprintf(file, "memory: peak %zu bytes on the device, %zu pinned; still held %zu\n",
                 peak_bytes, peak_pinned_bytes, bytes);
    for (const auto& text : remarks) std::fprintf(file, "remark: %s\n", text.c_str());
    table(file, "wait", by_wait);
    table(file, "op", by_op);
    table(file, "stack", stacks_seen_);
    if (file != stderr) std::fclose(file);
  }

 private:
  Ledger() {
    if (const char* path = setting("PRETEND_CUDA_TRACE")) {
      std::string name = path;
      if (auto at = name.find("%p"); at != std::string::npos)
        name.replace(at, 2, std::to_string(getpid()));
      trace_ = std::fopen(name.c_str(), "w");
    }
    stacks_ = setting("PRETEND_CUDA_STACKS") != nullptr;
    std::atexit([] { Ledger::get().report(); });
  }

  static void table(FILE* file, const char* what, const std::map<std::string, uint64_t>& counts) {
    std::vector<std::pair<std::string, uint64_t>> rows(counts.begin(), counts.end());
    std::stable_sort(rows.begin(), rows.end(),
                     [](auto& a, auto& b) { return a.second > b.second; });
    for (auto& [name, count] : rows) std::fprintf(file, "%s %8lu %s\n", what, count, name.c_str());
  }

  /// The program's own frames, innermost first, as offsets that addr2line takes.
  static std::string stack() {
    void* frames[96];
    int count = backtrace(frames, 96);
    std::string text;
    Dl_info program{}, here{};
    for (int i = count - 1; i >= 0 && !program.dli_fbase; --i)
      if (dladdr(frames[i], &here) && here.dli_fname &&
          std::strstr(here.dli_fname, ".so") == nullptr)
        program = here;
    int shown = 0;
    for (int i = 0; i < count && shown < 14; ++i) {
      if (!dladdr(frames[i], &here) || here.dli_fbase != program.dli_fbase) continue;
      char offset[32];
      std::snprintf(offset, sizeof offset, " %lx", (char*)frames[i] - (char*)here.dli_fbase - 1);
      text += offset;
      ++shown;
    }
    return text;
  }

  std::recursive_mutex mutex_;
  Counts before_;
  std::string last_mark_;
  std::map<std::string, uint64_t> stacks_seen_;
  FILE* trace_ = nullptr;
  bool stacks_ = false;
};

}  // namespace
