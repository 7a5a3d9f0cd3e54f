// SPDX-License-Identifier: Apache-2.0
// Words that ApplianceSession and its helper program say to each other.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmpack::appliance_wire {

// Accelerators.
inline constexpr std::string_view kKvm = "kvm";
inline constexpr std::string_view kTcg = "tcg";

// Kinds of image.
inline constexpr std::string_view kRaw = "raw";               ///< a path
inline constexpr std::string_view kNbdSocket = "nbd-socket";  ///< a unix socket's path
inline constexpr std::string_view kNbdHost = "nbd-host";      ///< host:port/export

// In the temporary folder: what is read about volumes, as layout_stream.hpp has it, volume after volume. The
// parent makes it, the appliance sees it as a disk.
inline constexpr std::string_view kReportFile = "volumes";
/// More than that is not kept of all volumes together: some fifteen million files.
inline constexpr std::uint64_t kReportBytesMax = std::uint64_t{2} << 30U;

// What the helper reads from its standard input once the appliance runs: numbers of partitions to read, 0 for
// the whole disk, and this word for all logical volumes; each on a line. Then the end of the file.
inline constexpr std::string_view kLogicalVolumes = "logical-volumes";

/// First thing on the helper's standard output, once the appliance runs.
inline constexpr std::string_view kLaunched = "launched\n";
/// Where volumes were asked for: a VolumesReport as JSON and the end of the line follow. The report file then
/// has a stream for each number, and one for each logical volume. OS facts as JSON come last.
inline constexpr std::string_view kVolumes = "volumes ";

struct LogicalVolume {
  std::string name;  ///< "group/volume"
  std::string type;  ///< what libblkid sees in it: "ext4", "swap"
  std::string
      problem;  ///< why its bytes cannot be found on the disk, where that is known before: "a thin volume"
};

/// What LVM says of a physical volume. Bytes count from the start of the image.
struct PhysicalVolume {
  std::uint32_t number = 0;       ///< partition, 0 for the whole disk
  std::uint64_t data_offset = 0;  ///< from the start of the partition
  std::uint64_t data_bytes = 0;   ///< that can be allocated
  std::uint64_t used_bytes = 0;   ///< that are
};

struct VolumesReport {
  std::string failure;  ///< empty when the report file is whole
  std::vector<LogicalVolume> logical_volumes;
  std::vector<PhysicalVolume> physical_volumes;
};

/// On one line. The reader throws kDamaged on text that is not such a thing.
[[nodiscard]] std::string to_json(const VolumesReport& report);
[[nodiscard]] VolumesReport volumes_report_from_json(std::string_view text);

}  // namespace vmpack::appliance_wire
