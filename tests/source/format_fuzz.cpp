// SPDX-License-Identifier: Apache-2.0
// The few bytes of an image that we look at ourselves: headers, a vmdk descriptor, qcow2's reference counts.
#include <unistd.h>

#include <cstdlib>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/source/format.hpp"
#include "libvmpack/source/qcow2_end.hpp"
#include "libvmpack/source/vmdk_descriptor.hpp"
#include "tests/support/files.hpp"
#include "tests/support/fuzz.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

template <typename Function>
void accept_refusal(const Function& function) {
  try {
    function();
  } catch (const Error&) {
    // a good answer
  }
}

}  // namespace
}  // namespace vmpack

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmpack;
  const ByteView bytes(reinterpret_cast<const std::byte*>(data), size);
  const ByteView head = bytes.first(std::min(size, kFormatHeadBytes));
  const ByteView tail = bytes.last(std::min(size, kFormatTailBytes));
  for (const std::string name : {"disk", "disk.vhd", "disk.qcow2"}) {
    accept_refusal([&] { static_cast<void>(detect_format(name, head, tail, size)); });
  }
  static_cast<void>(archive_kind(head));
  accept_refusal([&] { static_cast<void>(parse_vmdk_extents(as_text(bytes), "disk.vmdk")); });
  static const test::TempDir folder;
  test::write_file(folder / "disk.qcow2", bytes);
  accept_refusal([&] { static_cast<void>(qcow2_last_cluster(folder / "disk.qcow2", 0)); });
  return 0;
}

namespace vmpack::test {

std::vector<Bytes> fuzz_seeds() {
  std::vector<Bytes> seeds;
  const TempDir folder;
  for (const std::string format : {"qcow2", "vmdk", "vdi", "vpc"}) {
    const std::string path = folder / format;
    std::vector<std::string> create{"qemu-img", "create", "-f", format, path, "1M"};
    if (format == "qcow2") create.insert(create.end() - 2, {"-o", "cluster_size=512"});
    if (run_command(create).exit_code != 0) continue;
    Bytes bytes = read_file(path);
    bytes.resize(std::min<std::size_t>(bytes.size(), 8192));
    seeds.push_back(std::move(bytes));
  }
  const ByteView descriptor = as_byte_view(
      "# Disk DescriptorFile\nversion=1\nRW 4192256 SPARSE \"a.vmdk\"\nRDONLY 63 FLAT \"b c.vmdk\" 2\nRW 10 "
      "ZERO\n");
  seeds.emplace_back(descriptor.begin(), descriptor.end());
  return seeds;
}

}  // namespace vmpack::test
