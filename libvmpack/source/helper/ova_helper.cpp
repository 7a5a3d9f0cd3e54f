// SPDX-License-Identifier: Apache-2.0
// vmpack-ova-helper: says where the disks of an OVA lie in it. Reads the OVA from standard input, which must
// be a file, and writes JSON: {"disks": [{"name", "offset", "bytes", "compression", "difference"}...]},
// without a place where the archive lacks the file. Not for people: open_source() starts it.
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <new>
#include <nlohmann/json.hpp>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/source/helper/confine.hpp"
#include "libvmpack/source/helper/ovf.hpp"
#include "libvmpack/source/helper/tar.hpp"

namespace {

using namespace vmpack;

constexpr std::uint64_t kMemoryBytesMax = 512 * kMiB;
constexpr std::uint64_t kDescriptorBytesMax = 8 * kMiB;

Bytes read_descriptor(const std::vector<TarMember>& members) {
  const auto found =
      std::ranges::find_if(members, [](const TarMember& member) { return member.name.ends_with(".ovf"); });
  if (found == members.end()) throw Error(ErrorCode::kDamaged, "it has no descriptor (a file NAME.ovf)");
  if (found->range.length > kDescriptorBytesMax)
    throw Error(ErrorCode::kLimit, "its descriptor is too large");
  Bytes descriptor(found->range.length);
  descriptor.resize(read_at(STDIN_FILENO, descriptor, found->range.offset, "the OVA"));
  return descriptor;
}

void run() {
  struct stat facts{};
  if (::fstat(STDIN_FILENO, &facts) != 0) throw system_error(errno, "cannot read", "the OVA");
  const auto members = read_tar(STDIN_FILENO, static_cast<std::uint64_t>(facts.st_size));
  nlohmann::json disks = nlohmann::json::array();
  for (const OvfDisk& disk : read_ovf(read_descriptor(members))) {
    nlohmann::json entry{
        {"name", disk.file}, {"compression", disk.compression}, {"difference", disk.is_difference}};
    const auto member = std::ranges::find(members, disk.file, &TarMember::name);
    if (member != members.end()) {
      entry["offset"] = member->range.offset;
      entry["bytes"] = member->range.length;
    }
    disks.push_back(std::move(entry));
  }
  const std::string text = nlohmann::json{{"disks", std::move(disks)}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

int main() {
  try {
    confine(kMemoryBytesMax);
    run();
    return 0;
  } catch (const std::bad_alloc&) {
    std::fputs("out of memory\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
