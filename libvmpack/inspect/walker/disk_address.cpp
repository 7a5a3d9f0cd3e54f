// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/disk_address.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/inspect/walker/device_mapper.hpp"

namespace vmpack {
namespace {

/// Devices on devices, before we call it a loop.
constexpr int kDepthMax = 8;

Error no_number(std::string_view text) {
  return {ErrorCode::kDamaged, fmt::format("not what the kernel says of a device: {}", printable(text))};
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) throw no_number(text);
  return value;
}

std::uint64_t sectors(std::string_view text) {
  const std::uint64_t count = number(text);
  if (count > std::numeric_limits<std::uint64_t>::max() / kSectorBytes) throw no_number(text);
  return count * kSectorBytes;
}

/// "8:2".
dev_t device_number(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) throw no_number(text);
  constexpr std::uint64_t kNumberMax = std::numeric_limits<unsigned>::max();
  const std::uint64_t major_number = number(text.substr(0, colon));
  const std::uint64_t minor_number = number(text.substr(colon + 1));
  if (major_number > kNumberMax || minor_number > kNumberMax) throw no_number(text);
  return makedev(static_cast<unsigned>(major_number), static_cast<unsigned>(minor_number));
}

std::string_view next_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

/// What the kernel says about block devices, in sysfs.
class DeviceFacts {
 public:
  explicit DeviceFacts(dev_t device)
      : folder_(fmt::format("/sys/dev/block/{}:{}/", major(device), minor(device))) {}

  [[nodiscard]] bool has(std::string_view name) const {
    return ::access(fmt::format("{}{}", folder_, name).c_str(), F_OK) == 0;
  }
  /// A file's first line. Throws Error.
  [[nodiscard]] std::string text(std::string_view name) const {
    const std::string path = fmt::format("{}{}", folder_, name);
    const auto file = FileDescriptor::open(path, O_RDONLY);
    std::array<std::byte, 256> bytes;
    const std::size_t got = read_at(file.get(), bytes, 0, path);
    const std::string_view line = as_text(ByteView(bytes).first(got));
    return std::string(line.substr(0, line.find('\n')));
  }

 private:
  std::string folder_;
};

/// What `device` lies on, one layer down; nothing for a disk.
std::optional<std::vector<LinearTarget>> layer_below(dev_t device, std::uint64_t device_bytes) {
  const DeviceFacts facts(device);
  if (facts.has("partition")) {
    return {{{{0, sectors(facts.text("start")), device_bytes}, device_number(facts.text("../dev"))}}};
  }
  if (facts.has("dm")) {
    std::vector<LinearTarget> targets;
    for (const std::string& line : device_mapper_table(device)) targets.push_back(parse_linear_target(line));
    return targets;
  }
  if (facts.has("md")) throw Error(ErrorCode::kUnsupported, "it lies on a RAID (md)");
  return std::nullopt;
}

struct DiskAddresses {
  AddressMap map;
  dev_t disk = 0;
};

DiskAddresses resolve(dev_t device, std::uint64_t device_bytes, int depth) {
  if (depth > kDepthMax)
    throw Error(ErrorCode::kUnsupported, "it lies on too many devices, one on the other");
  const auto below = layer_below(device, device_bytes);
  if (!below) {
    const DeviceFacts facts(device);
    const std::uint64_t start = facts.has("loop") ? number(facts.text("loop/offset")) : 0;
    return {AddressMap({{0, start, device_bytes}}), device};
  }
  std::optional<dev_t> disk;
  std::vector<AddressRun> runs;
  for (const LinearTarget& target : *below) {
    const std::uint64_t used_bytes = target.run.to + target.run.length;
    const DiskAddresses lower = resolve(target.device, used_bytes, depth + 1);
    if (disk.value_or(lower.disk) != lower.disk) {
      throw Error(ErrorCode::kUnsupported, "it lies on more than one disk");
    }
    disk = lower.disk;
    const AddressMap through = AddressMap({target.run}).over(lower.map);
    runs.insert(runs.end(), through.runs().begin(), through.runs().end());
  }
  return {AddressMap(std::move(runs)), disk.value_or(device)};
}

}  // namespace

LinearTarget parse_linear_target(std::string_view line) {
  std::string_view rest = line;
  LinearTarget target;
  target.run.from = sectors(next_word(rest));
  target.run.length = sectors(next_word(rest));
  const std::string_view kind = next_word(rest);
  if (kind != "linear") {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("it is a logical volume of the kind \"{}\"", printable(kind)));
  }
  target.device = device_number(next_word(rest));
  target.run.to = sectors(next_word(rest));
  constexpr std::uint64_t kBytesMax = std::numeric_limits<std::int64_t>::max();
  const bool countable = target.run.to <= kBytesMax && target.run.length <= kBytesMax - target.run.to;
  if (!rest.empty() || !countable) throw no_number(line);
  return target;
}

AddressMap disk_addresses(dev_t device, std::uint64_t device_bytes) {
  return resolve(device, device_bytes, 0).map;
}

}  // namespace vmpack
