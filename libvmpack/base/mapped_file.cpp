// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/mapped_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

/// What the system's calls ask for; they do not write there.
void* address_of(ByteView view) { return const_cast<std::byte*>(view.data()); }

}  // namespace

MappedFile::MappedFile(const FileDescriptor& file, std::uint64_t bytes, std::string_view path) {
  if (bytes == 0) return;
  void* const mapping = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.get(), 0);
  if (mapping == MAP_FAILED) throw system_error(errno, "cannot map", path);
  view_ = {static_cast<const std::byte*>(mapping), bytes};
}

MappedFile::~MappedFile() {
  if (!view_.empty()) ::munmap(address_of(view_), view_.size());
}

void MappedFile::release_from(std::uint64_t offset) const noexcept {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t start = round_up(offset, page);
  if (start >= view_.size()) return;
  const ByteView rest = view_.subspan(start);
  ::madvise(address_of(rest), rest.size(), MADV_DONTNEED);
}

std::optional<std::uint64_t> mapped_memory() {
  // proc(5): the third number counts resident pages of files.
  std::ifstream statm("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  std::uint64_t shared = 0;
  if (!(statm >> size >> resident >> shared)) return std::nullopt;
  return shared * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace vmpack
