// SPDX-License-Identifier: Apache-2.0
// Where a file of a mounted file system lies, by FIEMAP.
#pragma once

#include <cstdint>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_entry.hpp"
#include "libvmpack/inspect/walker/address_map.hpp"
#include "libvmpack/inspect/walker/range_set.hpp"

namespace vmpack {

class ExtentReader {
 public:
  /// `to_disk`: from the addresses that the file system speaks of to the disk's. Must outlive this.
  explicit ExtentReader(const AddressMap& to_disk);

  enum class Outcome : std::uint8_t {
    kGood,
    kNotItsOwn,  ///< some of its content is inline, compressed, encrypted, or shared with an earlier file
    kDamaged,    ///< the kernel cannot tell, or tells what cannot be
  };
  /// The written content of the first `size` bytes of `file`, an open regular file, in order; nothing unless
  /// kGood: what is left of a file without some of its content would look like another file.
  Outcome read(int file, std::uint64_t size, std::vector<FileExtent>& extents);

 private:
  Outcome ask(int file, std::uint64_t size);
  Outcome take(std::uint64_t size, std::uint64_t& next);
  Outcome place(std::vector<FileExtent>& extents);
  [[nodiscard]] bool overlap_each_other();

  /// As the kernel tells it, clipped to the file.
  struct Run {
    std::uint64_t file_offset;
    ByteRange range;
  };

  const AddressMap& to_disk_;
  Bytes answer_;
  std::vector<Run> runs_;
  std::vector<ByteRange> shared_;  ///< those of the runs that other files may have too
  std::vector<ByteRange> pieces_;
  std::vector<ByteRange> sorted_;
  RangeSet taken_;  ///< shared runs that a file has
};

}  // namespace vmpack
