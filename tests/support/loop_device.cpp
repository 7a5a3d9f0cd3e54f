// SPDX-License-Identifier: Apache-2.0
#include "tests/support/loop_device.hpp"

#include <sys/mount.h>

#include <filesystem>

#include "tests/support/run_command.hpp"

namespace vmpack::test {

LoopDevice::LoopDevice(const std::string& disk, ByteRange range, std::uint64_t sector_bytes)
    : path_(run_or_throw({"losetup", "--find", "--show", "--partscan", "--offset",
                          std::to_string(range.offset), "--sizelimit", std::to_string(range.length),
                          "--sector-size", std::to_string(sector_bytes), disk})) {
  path_.resize(path_.find('\n'));
}

LoopDevice::~LoopDevice() { wait_for(start_command({"losetup", "--detach", path_})); }

std::string LoopDevice::add_partition(ByteRange range) {
  run_or_throw({"addpart", path_, "1", std::to_string(range.offset / kSectorBytes),
                std::to_string(range.length / kSectorBytes)});
  return path_ + "p1";
}

Mounted::Mounted(const std::string& device, std::string folder, const std::string& options)
    : folder_(std::move(folder)) {
  std::filesystem::create_directories(folder_);
  run_or_throw({"mount", "-o", options, device, folder_});
}

Mounted::~Mounted() { ::umount2(folder_.c_str(), 0); }

}  // namespace vmpack::test
