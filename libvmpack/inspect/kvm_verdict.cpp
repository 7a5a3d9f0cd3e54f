// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/kvm_verdict.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "libvmpack/base/cache_folder.hpp"

namespace vmpack {
namespace {

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

std::filesystem::path verdict_path() { return std::filesystem::path(cache_folder()) / "kvm-broken"; }

}  // namespace

bool kvm_may_work(const char* device) {
  if (::access(device, R_OK | W_OK) != 0) return false;
  std::ifstream file(verdict_path());
  std::string broken_since;
  return !std::getline(file, broken_since) || broken_since != boot_id();
}

void remember_broken_kvm() {
  const std::filesystem::path path = verdict_path();
  std::error_code ignored;
  std::filesystem::create_directories(path.parent_path(), ignored);
  std::ofstream(path) << boot_id() << '\n';
}

}  // namespace vmpack
