// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/device_mapper.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

/// Room for some ten thousand targets.
constexpr std::uint32_t kTableBytesMax = 1 * kMiB;

/// What the kernel answers: its header, then the targets.
Bytes ask_for_table(dev_t device) {
  const auto control = FileDescriptor::open("/dev/mapper/control", O_RDWR);
  dm_ioctl request{};
  request.version[0] = DM_VERSION_MAJOR;
  request.data_size = kTableBytesMax;
  request.data_start = sizeof(request);
  request.dev = device;
  request.flags = DM_STATUS_TABLE_FLAG;
  Bytes answer(kTableBytesMax);
  std::memcpy(answer.data(), &request, sizeof(request));
  if (::ioctl(control.get(), DM_TABLE_STATUS, answer.data()) != 0) {
    throw system_error(errno, "cannot read", "the device mapper's table");
  }
  return answer;
}

}  // namespace

std::vector<std::string> device_mapper_table(dev_t device) {
  const Bytes answer = ask_for_table(device);
  const auto header = read_struct<dm_ioctl>(answer);
  const bool whole = (header.flags & DM_BUFFER_FULL_FLAG) == 0 && header.data_start <= answer.size();
  std::vector<std::string> lines;
  std::size_t at = 0;
  const ByteView targets = whole ? ByteView(answer).subspan(header.data_start) : ByteView();
  for (std::uint32_t i = 0; i < header.target_count; ++i) {
    if (at > targets.size() || targets.size() - at < sizeof(dm_target_spec)) {
      throw Error(ErrorCode::kLimit, "the device mapper's table is too long");
    }
    const auto target = read_struct<dm_target_spec>(targets.subspan(at));
    const std::string_view rest = as_text(targets.subspan(at + sizeof(target)));
    const std::string_view kind(target.target_type, ::strnlen(target.target_type, DM_MAX_TYPE_NAME));
    lines.push_back(fmt::format("{} {} {} {}", target.sector_start, target.length, kind,
                                rest.substr(0, rest.find('\0'))));
    at = target.next;
  }
  return lines;
}

}  // namespace vmpack
