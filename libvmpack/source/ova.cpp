// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/ova.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/source/raw_source.hpp"
#include "libvmpack/source/sandbox.hpp"

namespace vmpack {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr std::size_t kReportBytesMax = 4 * kMiB;
constexpr std::size_t kDisksMax = 64;

/// A disk as the child reports it.
struct Reported {
  OvaDisk disk;
  bool is_there = false;
  bool is_compressed = false;
  bool is_difference = false;
};

std::string run_helper(const FileDescriptor& file, const std::string& shown) {
  SandboxPolicy policy;
  policy.cpu_seconds = 60;
  const std::array fds{FdMapping{file.get(), STDIN_FILENO}};
  const ToolOutput output =
      run_sandboxed({find_helper("vmpack-ova-helper")}, policy, kReportBytesMax, 60s, fds);
  if (!output.status.success()) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("cannot read the OVA {}: {}", shown,
                            output.error_line.empty() ? output.status.describe() : output.error_line),
                "fetch it again, and look at it with `tar -tvf`");
  }
  return output.out;
}

/// The child may have been taken over: nothing it says is used unchecked.
Reported check(const json& entry, std::uint64_t file_bytes) {
  Reported reported;
  reported.disk.name = printable(entry.at("name").get<std::string>());
  reported.is_compressed = !entry.at("compression").get<std::string>().empty();
  reported.is_difference = entry.at("difference").get<bool>();
  reported.is_there = entry.contains("offset");
  if (!reported.is_there) return reported;
  const ByteRange part{entry.at("offset").get<std::uint64_t>(), entry.at("bytes").get<std::uint64_t>()};
  if (part.offset % kSectorBytes != 0 || part.offset > file_bytes || part.length > file_bytes - part.offset) {
    throw Error(ErrorCode::kRefused, "the process that reads it told of a disk outside of it");
  }
  reported.disk.part = part;
  return reported;
}

std::vector<Reported> read_disks(const std::string& path, const std::string& shown) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  const std::uint64_t file_bytes = image_file_bytes(file.get(), shown);
  const std::string report = run_helper(file, shown);
  std::vector<Reported> disks;
  try {
    const json told = json::parse(report);
    for (const json& entry : told.at("disks")) {
      disks.push_back(check(entry, file_bytes));
      if (disks.size() > kDisksMax) {
        throw Error(ErrorCode::kLimit, fmt::format("{} has more than {} disks", shown, kDisksMax));
      }
    }
  } catch (const json::exception&) {
    throw Error(ErrorCode::kDamaged, fmt::format("the process that reads {} told nonsense", shown));
  }
  return disks;
}

const Reported& choose(const std::vector<Reported>& disks, const std::string& shown,
                       const std::optional<std::string>& wanted) {
  if (disks.empty()) {
    throw Error(ErrorCode::kDamaged, fmt::format("the descriptor of {} names no disk", shown));
  }
  std::vector<std::string> names;
  names.reserve(disks.size());
  for (const Reported& each : disks) names.push_back(each.disk.name);
  if (!wanted) {
    if (disks.size() == 1) return disks.front();
    throw Error(ErrorCode::kInvalid,
                fmt::format("{} has {} disks: {}", shown, disks.size(), fmt::join(names, ", ")),
                fmt::format("say which one: --disk {}", names.front()));
  }
  const auto found = std::ranges::find(disks, *wanted, [](const Reported& each) { return each.disk.name; });
  if (found != disks.end()) return *found;
  throw Error(ErrorCode::kNotFound, fmt::format("{} has no disk {}", shown, *wanted),
              fmt::format("it has: {}", fmt::join(names, ", ")));
}

}  // namespace

OvaDisk find_ova_disk(const std::string& path, const std::string& shown,
                      const std::optional<std::string>& wanted) {
  const std::vector<Reported> disks = read_disks(path, shown);
  const Reported& chosen = choose(disks, shown, wanted);
  if (!chosen.is_there || chosen.disk.part.length == 0) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} lacks its disk {}", shown, chosen.disk.name),
                "it may be cut short: fetch it again, and look at it with `tar -tvf`");
  }
  if (chosen.is_compressed || chosen.is_difference) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("the disk {} in {} {}", chosen.disk.name, shown,
                            chosen.is_compressed ? "is compressed once more" : "needs another disk below it"),
                chosen.is_compressed ? "extract it with `tar -xf`, and give that file" : "");
  }
  return chosen.disk;
}

}  // namespace vmpack
