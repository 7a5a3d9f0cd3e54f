// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/http_body.hpp"

namespace vmpack {

std::size_t PartsBody::read(std::uint64_t offset, ByteSpan into) {
  if (offset < part_offset_) part_ = part_offset_ = 0;
  std::size_t done = 0;
  while (done < into.size() && part_ < parts_.size()) {
    const ByteView part = parts_[part_];
    const std::uint64_t skipped = offset + done - part_offset_;
    if (skipped >= part.size()) {
      part_offset_ += part.size();
      ++part_;
      continue;
    }
    const ByteView rest = part.subspan(static_cast<std::size_t>(skipped));
    const std::size_t count = std::min(rest.size(), into.size() - done);
    std::ranges::copy(rest.first(count), into.subspan(done).begin());
    done += count;
  }
  return done;
}

}  // namespace vmpack
