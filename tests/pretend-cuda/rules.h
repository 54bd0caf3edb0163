// What the real library's `native_functions.yaml` says of operators.
#pragma once

#include <c10/core/Device.h>

#include "ledger.h"

namespace {

/// What `native_functions.yaml` says of an operator.
struct Rule {
  bool on_cuda = false;  // has a kernel for CUDA of its own, not one made of others
  bool checks_devices =
      true;            // all tensors must be on one device; false where TensorIterator looks
  bool draws = false;  // takes random numbers
};

const std::map<std::string, Rule>& rules() {
  static auto* all = [] {
    std::string path;
    if (const char* said = setting("PRETEND_CUDA_YAML")) {
      path = said;
    } else {
      Dl_info library{};
      dladdr(reinterpret_cast<void*>(&at::detail::empty_generic), &library);
      path = library.dli_fname;  // .../torch/lib/libtorch_cpu.so
      for (int i = 0; i < 3; ++i) path.erase(path.rfind('/'));
      path += "/torchgen/packaged/ATen/native/native_functions.yaml";
    }
    std::ifstream file(path);
    TORCH_CHECK(file, "pretend CUDA: cannot read ", path, "; PRETEND_CUDA_YAML says where it is");
    auto* made = new std::map<std::string, Rule>;
    Rule* rule = nullptr;
    bool in_dispatch = false;
    for (std::string line; std::getline(file, line);) {
      if (line.rfind("- func: ", 0) == 0) {
        rule = &(*made)[line.substr(8, line.find('(') - 8)];
        in_dispatch = false;
      } else if (!rule || line.size() < 3 || line[0] != ' ') {
        continue;
      } else if (line[2] != ' ') {
        in_dispatch = line.rfind("  dispatch:", 0) == 0;
        if (line.rfind("  device_check: NoCheck", 0) == 0) rule->checks_devices = false;
        if (line.rfind("  ufunc_inner_loop:", 0) == 0) rule->on_cuda = true;
        if (line.find("nondeterministic_seeded") != std::string::npos) rule->draws = true;
      } else if (in_dispatch) {
        std::string keys = line.substr(0, line.rfind(':'));
        for (size_t from = 0; from < keys.size();) {
          size_t to = std::min(keys.find(',', from), keys.size());
          std::string key = keys.substr(from, to - from);
          key.erase(0, key.find_first_not_of(' '));
          if (key == "CUDA") rule->on_cuda = true;
          from = to + 1;
        }
      }
    }
    return made;
  }();
  return *all;
}

Rule rule_of(const c10::OperatorName& name) {
  std::string own = name.name.substr(name.name.find("::") + 2);
  if (!name.overload_name.empty()) own += "." + name.overload_name;
  auto found = rules().find(own);
  return found == rules().end() ? Rule{} : found->second;
}

/// Operators whose result's size depends on values, or is a value: the host waits for it.
bool makes_host_wait(const std::string& name) {
  static const std::set<std::string> names = {"aten::nonzero",
                                              "aten::masked_select",
                                              "aten::_unique2",
                                              "aten::unique_dim",
                                              "aten::equal",
                                              "aten::bincount",
                                              "aten::unique_consecutive",
                                              "aten::unique_dim_consecutive",
                                              "aten::is_nonzero",
                                              "aten::histc",
                                              "aten::repeat_interleave"};
  return names.count(name) > 0;
}

/// Operators that may give other last bits each time on a real GPU (atomic additions).
bool differs_each_time(const std::string& name) {
  static const std::set<std::string> names = {
      "aten::index_add_",
      "aten::index_add",
      "aten::scatter_add_",
      "aten::scatter_add",
      "aten::put_",
      "aten::cumsum",
      "aten::cumsum_",
      "aten::histc",
      "aten::bincount",
      "aten::max_pool2d_with_indices_backward",
      "aten::_index_put_impl_",
      "aten::_scaled_dot_product_efficient_attention_backward"};
  return names.count(name) > 0;
}

}  // namespace
