// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/spool.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/temp_folder.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kBlockBytes = kMiB;

}  // namespace

bool SpoolMemory::take(std::uint64_t bytes) {
  std::uint64_t left = left_.load();
  while (left >= bytes) {
    if (left_.compare_exchange_weak(left, left - bytes)) return true;
  }
  return false;
}

Spool::~Spool() { memory_.give_back(blocks_.size() * kBlockBytes); }

void Spool::append(ByteView bytes) {
  if (!file_) bytes = append_to_memory(bytes);
  if (!bytes.empty()) append_to_file(bytes);
}

ByteView Spool::append_to_memory(ByteView bytes) {
  while (!bytes.empty()) {
    if (blocks_.empty() || blocks_.back().size() == kBlockBytes) {
      if (!memory_.take(kBlockBytes)) break;
      blocks_.emplace_back().reserve(kBlockBytes);
    }
    Bytes& block = blocks_.back();
    const ByteView fits = bytes.first(std::min<std::size_t>(bytes.size(), kBlockBytes - block.size()));
    vmpack::append(block, fits);
    memory_bytes_ += fits.size();
    bytes = bytes.subspan(fits.size());
  }
  return bytes;
}

void Spool::append_to_file(ByteView bytes) {
  if (!file_) file_ = nameless_file();
  try {
    write_at(file_.get(), bytes, file_bytes_, temp_folder());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNoSpace) throw;
    throw Error(ErrorCode::kNoSpace,
                fmt::format("the disk of {} is full: there is no room for what is to be sent to the store",
                            temp_folder()),
                "set TMPDIR to a folder with more room");
  }
  file_bytes_ += bytes.size();
}

std::size_t Spool::read(std::uint64_t offset, ByteSpan into) {
  if (offset < memory_bytes_) {
    const ByteView block = ByteView(blocks_[offset / kBlockBytes]).subspan(offset % kBlockBytes);
    const std::size_t count = std::min(block.size(), into.size());
    std::ranges::copy(block.first(count), into.begin());
    return count;
  }
  const std::uint64_t left = size() - std::min(offset, size());
  if (left == 0) return 0;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left, into.size()));
  return read_at(file_.get(), into.first(count), offset - memory_bytes_, temp_folder());
}

}  // namespace vmpack
