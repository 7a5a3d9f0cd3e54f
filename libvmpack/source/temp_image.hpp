// SPDX-License-Identifier: Apache-2.0
// Room on a disk for an image that has to be written out before a program can read it.
#pragma once

#include <cstdint>
#include <string>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {

/// A sparse file in $TMPDIR or /var/tmp that is filled from front to back. It has no name, so that nothing of
/// it stays however this process ends, except while a NamedTempImage lives or where the file system cannot
/// have files without one. One thread.
class TempImage {
 public:
  /// `purpose` is for messages: what the room is needed for ("to decompress disk.img.xz"). Throws Error (kIo,
  /// kNoSpace).
  explicit TempImage(std::string purpose, std::uint64_t bytes_max = limits::kImageBytesMax);
  ~TempImage();
  TempImage(TempImage&& other) noexcept;
  TempImage& operator=(TempImage&&) = delete;

  /// Writes behind what is there; zeros become holes. Throws Error: kNoSpace when the disk is full or would
  /// be nearly so, kLimit when there would be more than `bytes_max`.
  void append(ByteView bytes);
  /// Leaves a hole of that length behind what is there.
  void skip(std::uint64_t bytes);
  /// Nothing more comes.
  void finish();

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  friend class NamedTempImage;

  void require_allowed(std::uint64_t more) const;
  void write(ByteView bytes, std::uint64_t offset);
  void require_space();

  std::string purpose_;
  std::uint64_t bytes_max_;
  std::string folder_;  ///< of the user's choice
  std::string name_;    ///< the file's whole path where it has to have one, or empty
  FileDescriptor file_;
  std::uint64_t bytes_ = 0;
  std::uint64_t written_ = 0;           ///< of them, no holes
  std::uint64_t next_space_check_ = 0;  ///< at that many written
};

/// Gives a finished TempImage a name in a folder of its own, for as long as this object lives: programs that
/// are to read it open it by that. Does not need the TempImage after its making.
class NamedTempImage {
 public:
  /// `name` is the file's, without a folder. Throws Error (kIo).
  NamedTempImage(const TempImage& image, const std::string& name);
  ~NamedTempImage();
  NamedTempImage(const NamedTempImage&) = delete;
  NamedTempImage& operator=(const NamedTempImage&) = delete;

  /// Absolute and without symbolic links.
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string folder_;
  std::string path_;
};

}  // namespace vmpack
