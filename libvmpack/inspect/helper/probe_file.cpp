// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/probe_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace vmpack {
namespace {

std::string value_of(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  std::size_t length = 0;  // counts the final zero
  if (blkid_probe_lookup_value(probe, name, &value, &length) != 0 || length == 0) return {};
  return {value, length - 1};
}

}  // namespace

ProbeFile::ProbeFile(ImageClient& image) : image_(image), file_(::memfd_create("volume", MFD_CLOEXEC)) {
  if (!file_ || ::ftruncate(file_.get(), static_cast<off_t>(image.size())) != 0) {
    file_.reset();
  }
}

void ProbeFile::copy(std::uint64_t offset, std::uint64_t length) {
  if (!file_ || offset >= image_.size()) return;
  length = std::min(length, image_.size() - offset);
  std::array<std::byte, 16 * kKiB> buffer;
  while (length > 0) {
    const auto part = std::span(buffer).first(std::min<std::uint64_t>(length, buffer.size()));
    if (image_.read(offset, part) && !is_zero(part)) write_at(file_.get(), part, offset, "probe file");
    offset += part.size();
    length -= part.size();
  }
}

Probe ProbeFile::probe() const {
  Probe probe(file_ ? blkid_new_probe() : nullptr);
  if (probe && blkid_probe_set_device(probe.get(), file_.get(), 0, 0) != 0) probe.reset();
  return probe;
}

Volume identify_volume(ImageClient& image) {
  Volume volume;
  // Where libblkid's superblocks lie: near the start (ZFS's second label reaches up to 512 KiB), at 1 and 2
  // MiB (VMFS), and near the end (RAID members, nilfs2).
  ProbeFile file(image);
  file.copy(0, 512 * kKiB);
  file.copy(1 * kMiB, 64 * kKiB);
  file.copy(2 * kMiB, 64 * kKiB);
  constexpr std::uint64_t kTailBytes = 256 * kKiB;
  file.copy(image.size() - std::min(image.size(), kTailBytes), kTailBytes);
  const Probe probe = file.probe();
  if (!probe) return volume;
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID);
  // "Safe": two different signatures make it say nothing.
  if (blkid_do_safeprobe(probe.get()) != 0) return volume;
  volume.type = value_of(probe.get(), "TYPE");
  volume.label = value_of(probe.get(), "LABEL");
  volume.uuid = value_of(probe.get(), "UUID");
  return volume;
}

}  // namespace vmpack
