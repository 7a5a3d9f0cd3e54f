// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/guest_volumes.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <span>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/inspect/helper/lv_attributes.hpp"

namespace vmpack {
namespace {

using appliance_wire::LogicalVolume;
using appliance_wire::PhysicalVolume;
using appliance_wire::VolumesReport;

// As libguestfs names disks, in the order in which they are added. Inside the appliance they may have other
// names, since its kernel looks for all at once; labels hold everywhere.
constexpr const char* kScratchDisk = "/dev/sdb";
constexpr const char* kReportDisk = "/dev/sdc";
constexpr const char* kReportLabel = "report";
constexpr std::string_view kLabelFolder = "/dev/disk/guestfs/";
constexpr std::int64_t kScratchBytes = 32 * kMiB;
constexpr const char* kWalker = "/walker";

/// What programs in the appliance know a partition of the image by.
std::string device_of(std::uint32_t partition) {
  return fmt::format("{}{}{}", kLabelFolder, kImageLabel, partition == 0 ? "" : std::to_string(partition));
}

/// The number at the end of "/dev/sda2"; only the image has partitions.
std::uint32_t partition_of(std::string_view device) {
  const std::string_view number = device.substr(device.find_last_not_of("0123456789") + 1);
  std::uint32_t value = 0;
  std::from_chars(number.data(), number.data() + number.size(), value);
  return value;
}

/// lv_attr by UUID, without dashes.
std::map<std::string, std::string> attributes_by_uuid(guestfs_h* guest) {
  std::map<std::string, std::string> all;
  const std::unique_ptr<guestfs_lvm_lv_list, decltype(&guestfs_free_lvm_lv_list)> list(
      guestfs_lvs_full(guest), &guestfs_free_lvm_lv_list);
  if (list == nullptr) fail(guest, "cannot list logical volumes");
  for (const guestfs_lvm_lv& volume : std::span(list->val, list->len)) {
    all.emplace(std::string(volume.lv_uuid, sizeof(volume.lv_uuid)), volume.lv_attr);
  }
  return all;
}

std::vector<LogicalVolume> list_logical_volumes(guestfs_h* guest) {
  constexpr std::string_view kDeviceFolder = "/dev/";
  const auto attributes = attributes_by_uuid(guest);
  const Strings devices(guestfs_lvs(guest));
  std::vector<LogicalVolume> volumes;
  for (const char* device : devices.texts()) {
    if (volumes.size() == limits::kVolumesMax) break;
    LogicalVolume& volume = volumes.emplace_back();
    volume.name = std::string_view(device).substr(kDeviceFolder.size());
    volume.type = take(guestfs_vfs_type(guest, device));
    std::string uuid = take(guestfs_lvuuid(guest, device));
    std::erase(uuid, '-');
    if (const auto found = attributes.find(uuid); found != attributes.end())
      volume.problem = lv_problem(found->second);
  }
  return volumes;
}

std::vector<PhysicalVolume> list_physical_volumes(guestfs_h* guest) {
  std::vector<PhysicalVolume> volumes;
  const std::unique_ptr<guestfs_lvm_pv_list, decltype(&guestfs_free_lvm_pv_list)> list(
      guestfs_pvs_full(guest), &guestfs_free_lvm_pv_list);
  if (list == nullptr) fail(guest, "cannot list physical volumes");
  volumes.reserve(list->len);
  for (const guestfs_lvm_pv& volume : std::span(list->val, list->len)) {
    volumes.push_back({partition_of(volume.pv_name), volume.pe_start, volume.pv_size, volume.pv_used});
  }
  return volumes;
}

/// A file system with nothing but the walker in it, mounted: guestfs_command() runs what is in there.
class WalkerRoot {
 public:
  WalkerRoot(guestfs_h* guest, const std::string& walker) : guest_(guest) {
    constexpr int kExecutable = 0700;
    require(guestfs_mkfs(guest, "ext2", kScratchDisk));
    require(guestfs_mount(guest, kScratchDisk, "/"));
    for (const char* folder : {"/dev", "/proc", "/sys"}) require(guestfs_mkdir(guest, folder));
    require(guestfs_upload(guest, walker.c_str(), kWalker));
    require(guestfs_chmod(guest, kExecutable, kWalker));
  }
  ~WalkerRoot() {
    guestfs_umount_all(guest_);
    guestfs_wipefs(guest_, kScratchDisk);  // or it would be searched for an operating system
  }
  WalkerRoot(const WalkerRoot&) = delete;
  WalkerRoot& operator=(const WalkerRoot&) = delete;

  void run(std::span<const std::string> devices) {
    std::vector<std::string> words{kWalker, fmt::format("{}{}", kLabelFolder, kReportLabel)};
    words.insert(words.end(), devices.begin(), devices.end());
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const OwnedText said(guestfs_command(guest_, arguments.data()), &std::free);
    require(said == nullptr ? -1 : 0);
    require(guestfs_sync(guest_));
  }

 private:
  void require(int result) {
    if (result != 0) fail(guest_, "cannot run vmpack-volume-walker in the appliance");
  }

  guestfs_h* guest_;
};

}  // namespace

VolumesRequest read_request(std::istream& in) {
  VolumesRequest request;
  for (std::string line; std::getline(in, line);) {
    if (line == appliance_wire::kLogicalVolumes) {
      request.logical_volumes = true;
      continue;
    }
    std::uint32_t& number = request.partitions.emplace_back();
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
    if (error != std::errc() || end != line.data() + line.size()) {
      throw Error(ErrorCode::kInvalid, fmt::format("no partition: {}", line));
    }
  }
  return request;
}

void add_scratch_disks(guestfs_h* guest, const std::string& folder) {
  if (guestfs_add_drive_scratch(guest, kScratchBytes, -1) != 0) fail(guest, "cannot add a scratch disk");
  const std::string report = fmt::format("{}/{}", folder, appliance_wire::kReportFile);
  struct guestfs_add_drive_opts_argv options{};
  options.bitmask = GUESTFS_ADD_DRIVE_OPTS_FORMAT_BITMASK | GUESTFS_ADD_DRIVE_OPTS_CACHEMODE_BITMASK |
                    GUESTFS_ADD_DRIVE_OPTS_LABEL_BITMASK;
  options.format = "raw";
  options.label = kReportLabel;
  options.cachemode = "unsafe";  // nothing of it must outlive this process
  if (guestfs_add_drive_opts_argv(guest, report.c_str(), &options) != 0)
    fail(guest, "cannot add a scratch disk");
}

bool is_scratch_disk(std::string_view device) { return device == kScratchDisk || device == kReportDisk; }

VolumesReport read_volumes(guestfs_h* guest, const VolumesRequest& request, const std::string& walker) {
  VolumesReport report;
  try {
    std::vector<std::string> devices;
    devices.reserve(request.partitions.size());
    for (const std::uint32_t partition : request.partitions) devices.push_back(device_of(partition));
    if (request.logical_volumes) {
      report.logical_volumes = list_logical_volumes(guest);
      report.physical_volumes = list_physical_volumes(guest);
    }
    for (const LogicalVolume& volume : report.logical_volumes) {
      if (volume.problem.empty()) devices.push_back(fmt::format("/dev/{}", volume.name));
    }
    if (!devices.empty()) WalkerRoot(guest, walker).run(devices);
  } catch (const Error& error) {
    report.failure = error.what();
  }
  return report;
}

}  // namespace vmpack
