// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/rados/librados.hpp"

#include <dlfcn.h>
#include <fmt/core.h>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr const char* kLibrary = "librados.so.2";

template <typename Function>
void find(void* library, const char* name, Function& function) {
  void* const found = ::dlsym(library, name);
  if (found == nullptr) {
    throw Error(ErrorCode::kUnsupported, fmt::format("{} is too old: it has no {}", kLibrary, name),
                "install the librados2 of Ceph 14 or newer");
  }
  function = reinterpret_cast<Function>(found);
}

}  // namespace

std::shared_ptr<const LibRados> load_librados() {
  // Never unloaded: its threads may still be on their way out when a store is closed.
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("cannot load {}, which rados:// stores need: {}", kLibrary,
                            ::dlerror()),  // NOLINT(concurrency-mt-unsafe): glibc keeps it for each thread
                "install the package librados2");
  }
  auto functions = std::make_shared<LibRados>();
#define VMPACK_FIND(name) find(library, "rados_" #name, functions->name);
  VMPACK_LIBRADOS_FUNCTIONS(VMPACK_FIND)
#undef VMPACK_FIND
  return functions;
}

}  // namespace vmpack
