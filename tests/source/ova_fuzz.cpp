// SPDX-License-Identifier: Apache-2.0
// What the child reads of an OVA: tar headers and the descriptor.
#include <sys/mman.h>
#include <unistd.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/source/helper/ovf.hpp"
#include "libvmpack/source/helper/tar.hpp"
#include "tests/support/files.hpp"
#include "tests/support/fuzz.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmpack;
  const ByteView bytes(reinterpret_cast<const std::byte*>(data), size);
  const FileDescriptor file(::memfd_create("ova", MFD_CLOEXEC));
  write_at(file.get(), bytes, 0, "ova");
  try {
    for (const TarMember& member : read_tar(file.get(), size)) {
      if (member.range.offset > size || member.range.length > size - member.range.offset) std::abort();
    }
  } catch (const Error&) {
    // a good answer
  }
  try {
    static_cast<void>(read_ovf(bytes));
  } catch (const Error&) {
    // a good answer
  }
  return 0;
}

namespace vmpack::test {

std::vector<Bytes> fuzz_seeds() {
  std::vector<Bytes> seeds;
  const TempDir folder;
  const std::string long_name(150, 'n');
  write_file(folder / "machine.ovf",
             std::string_view("<e xmlns:o='u'><File o:id='1' o:href='d'/><Disk o:fileRef='1'/></e>"));
  write_file(folder / long_name, std::string_view("disk"));
  seeds.push_back(read_file(folder / "machine.ovf"));
  for (const std::string format : {"gnu", "posix"}) {
    const std::string ova = folder / format;
    const auto made = run_command(
        {"tar", "--format=" + format, "-b1", "-C", folder.path(), "-cf", ova, "machine.ovf", long_name});
    if (made.exit_code == 0) seeds.push_back(read_file(ova));
  }
  return seeds;
}

}  // namespace vmpack::test
