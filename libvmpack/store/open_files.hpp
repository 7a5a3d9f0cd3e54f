// SPDX-License-Identifier: Apache-2.0
// Keeps the files that are read again and again open: a pack is read thousands of times while a guest boots.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {

/// The least recently used files go first. Any thread; a file that a thread holds stays open whatever happens
/// here.
class OpenFiles {
 public:
  explicit OpenFiles(std::size_t files_max) : files_max_(files_max) {}

  /// nullptr when it is not here, or has been removed or replaced on disk since.
  [[nodiscard]] std::shared_ptr<const FileDescriptor> find(std::string_view key);
  /// Also lets go of files that have been removed, so that their space is freed.
  void add(std::string_view key, std::shared_ptr<const FileDescriptor> file);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const FileDescriptor> file;
  };
  using Entries = std::list<Entry>;

  void drop(Entries::iterator entry);  // with mutex_ held

  const std::size_t files_max_;
  std::mutex mutex_;
  Entries entries_;                                                 // most recently used first
  std::unordered_map<std::string_view, Entries::iterator> by_key_;  // keys lie in entries_
};

}  // namespace vmpack
