// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/raw_source.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/source/data_ranges.hpp"

namespace vmpack {
namespace {

class RawSource final : public Source {
 public:
  RawSource(FileDescriptor file, std::uint64_t file_bytes, std::string path, const std::string& location)
      : file_(std::move(file)), file_bytes_(file_bytes), path_(std::move(path)) {
    facts_.format = "raw";
    facts_.location = location;
    // Packing reads from front to back: a wider read-ahead, which costs nothing where the file is cached.
    ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }

  std::uint64_t size() const override { return round_up(file_bytes_, kSectorBytes); }

  void read(std::uint64_t offset, ByteSpan into) override {
    VMPACK_ASSERT(offset <= size() && into.size() <= size() - offset);
    const std::uint64_t there =
        offset < file_bytes_ ? std::min<std::uint64_t>(into.size(), file_bytes_ - offset) : 0;
    const ByteSpan stored = into.first(there);
    const std::size_t got = read_at(file_.get(), stored, offset, path_);
    if (got < stored.size()) {
      throw Error(ErrorCode::kIo,
                  fmt::format("{} ends at byte {}, before the {} bytes it had when it was opened",
                              facts_.location, offset + got, file_bytes_),
                  "something is writing to the image; try again when it is done");
    }
    std::ranges::fill(into.subspan(there), std::byte{0});
  }

  std::vector<ByteRange> data_ranges(std::uint64_t offset, std::uint64_t length) override {
    VMPACK_ASSERT(offset <= size() && length <= size() - offset);
    DataRanges ranges({offset, length});
    const std::uint64_t end = std::min(offset + length, file_bytes_);
    while (offset < end) {
      const off_t data = ::lseek(file_.get(), static_cast<off_t>(offset), SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;
      const off_t hole = data < 0 ? -1 : ::lseek(file_.get(), data, SEEK_HOLE);
      if (hole < 0) {  // a device, or a file system that does not know
        ranges.add(offset, end);
        break;
      }
      ranges.add(static_cast<std::uint64_t>(data), std::min(static_cast<std::uint64_t>(hole), end));
      offset = static_cast<std::uint64_t>(hole);
    }
    return ranges.take();
  }

  const SourceFacts& facts() const override { return facts_; }
  SourceAttachment attachment() const override { return {path_, {}, {}}; }
  int raw_descriptor() const override { return file_.get(); }

 private:
  FileDescriptor file_;
  std::uint64_t file_bytes_;
  std::string path_;
  SourceFacts facts_;
};

}  // namespace

std::uint64_t image_file_bytes(int descriptor, const std::string& path) {
  struct stat facts{};
  if (::fstat(descriptor, &facts) < 0) throw system_error(errno, "cannot read", path);
  if (S_ISREG(facts.st_mode)) return static_cast<std::uint64_t>(facts.st_size);
  if (S_ISBLK(facts.st_mode)) {
    std::uint64_t bytes = 0;
    if (::ioctl(descriptor, BLKGETSIZE64, &bytes) < 0)
      throw system_error(errno, "cannot read the size of", path);
    return bytes;
  }
  if (S_ISDIR(facts.st_mode))
    throw Error(ErrorCode::kInvalid, fmt::format("{} is a folder, not an image", path));
  throw Error(ErrorCode::kInvalid, fmt::format("{} is neither a file nor a block device", path));
}

std::unique_ptr<Source> open_raw(const std::string& path, const std::string& location) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  FileDescriptor file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  const std::uint64_t bytes = image_file_bytes(file.get(), location);
  if (bytes > limits::kImageBytesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("{} is a disk of {}, more than the {} allowed", location,
                                               format_bytes(bytes), format_bytes(limits::kImageBytesMax)));
  }
  return std::make_unique<RawSource>(std::move(file), bytes, path, location);
}

}  // namespace vmpack
