// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/open_files.hpp"

#include <sys/stat.h>

#include <iterator>

namespace vmpack {
namespace {

// A value is never changed in place: it is what its key names until its file loses its last name.
bool is_current(const FileDescriptor& file) {
  struct stat status{};
  return ::fstat(file.get(), &status) == 0 && status.st_nlink > 0;
}

}  // namespace

std::shared_ptr<const FileDescriptor> OpenFiles::find(std::string_view key) {
  std::shared_ptr<const FileDescriptor> file;
  {
    const std::lock_guard lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    file = found->second->file;
  }
  return is_current(*file) ? file : nullptr;
}

void OpenFiles::add(std::string_view key, std::shared_ptr<const FileDescriptor> file) {
  const std::lock_guard lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto here = entry++;
    if (here->key == key || !is_current(*here->file)) drop(here);
  }
  if (entries_.size() >= files_max_) drop(std::prev(entries_.end()));
  entries_.push_front({std::string(key), std::move(file)});
  by_key_.emplace(entries_.front().key, entries_.begin());
}

void OpenFiles::drop(Entries::iterator entry) {
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

}  // namespace vmpack
