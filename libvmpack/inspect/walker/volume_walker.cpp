// SPDX-License-Identifier: Apache-2.0
// vmpack-volume-walker: reports the files and the free space of file systems that the kernel mounts, each as
// one stream (layout_stream.hpp), with all offsets on the disk. Not for people: it runs as root inside the
// libguestfs appliance.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>

#include <cstdio>
#include <span>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/inspect/walker/device_report.hpp"

namespace {

using namespace vmpack;

/// A directory is kept open for each part of a path.
void allow_deep_paths() {
  constexpr rlim_t kFiles = 4096;
  const rlimit limit{kFiles, kFiles};
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int run(std::span<char*> arguments) {
  if (arguments.size() < 3) {
    std::fputs(
        "usage: vmpack-volume-walker OUTPUT DEVICE...\nStarted by vmpack, in the libguestfs appliance.\n",
        stderr);
    return 2;
  }
  allow_deep_paths();
  const char* path = arguments[1];
  const auto output = FileDescriptor::open(path, O_WRONLY | O_CREAT | O_TRUNC);
  std::uint64_t written = 0;
  LayoutStreamWriter out([&](ByteView bytes) {
    write_at(output.get(), bytes, written, path);
    written += bytes.size();
  });
  for (const char* device : arguments.subspan(2)) report_device(device, out);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run(std::span(arguments, static_cast<std::size_t>(count)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
