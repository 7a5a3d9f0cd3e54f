// SPDX-License-Identifier: Apache-2.0
// Makes a repository and looks into it, with the installed library alone.
#include <cstdio>
#include <memory>

#include "libvmpack/base/error.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/store/store.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const std::shared_ptr<vmpack::Store> store = vmpack::open_store(argv[1], true);
    vmpack::Repository::init(*store, {});
    const auto repository = vmpack::Repository::open(store);
    std::printf("consumer: repository %s with %zu references\n", repository->id().c_str(),
                repository->references().size());
    return 0;
  } catch (const vmpack::Error& error) {
    std::fprintf(stderr, "consumer: %s\n", error.what());
    return 1;
  }
}
