// SPDX-License-Identifier: Apache-2.0
// Small disk images with real file systems and partition tables, made by the tools that everybody makes them
// with.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/inspect/inspect.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {

/// Runs a program and returns what it printed; fails the test when the program fails.
std::string run(const std::vector<std::string>& arguments, const std::string& input = {});

/// A folder of files of all kinds: small, empty, large, sparse, linked, with odd names. Returns the contents
/// of the regular files by their path from the folder ("/a").
std::map<std::string, Bytes> fill_tree(const std::string& folder);

/// An image `path` that holds one file system with `folder` in it. `options`: for mke2fs, before the image's
/// name.
void make_file_system(const std::string& path, const std::string& folder, std::uint64_t bytes,
                      const std::vector<std::string>& options);

void make_sparse_file(const std::string& path, std::uint64_t bytes);
void overwrite(const std::string& path, std::uint64_t offset, ByteView bytes);
/// Copies a file into a disk image.
void copy_into(const std::string& disk, const std::string& part, std::uint64_t offset);
/// Changes a file system; see debugfs(8).
void debugfs(const std::string& path, const std::string& request);

/// Keeps what it was warned of.
class WarningKeeper final : public Progress {
 public:
  void begin(std::string_view, std::uint64_t) override {}
  void advance(std::uint64_t) override {}
  void end() override {}
  void warn(std::string_view message) override { warnings.emplace_back(message); }

  std::vector<std::string> warnings;
};

/// Inspects a raw image, and checks that the layout is sane: ranges inside the image, in order, paths in
/// order.
Layout inspect_raw(const std::string& path, const InspectOptions& options = {});
Layout inspect_raw(const std::string& path, const InspectOptions& options, WarningKeeper& warnings);
void require_sane(const Layout& layout);

const FileEntry* find_file(const Volume& volume, std::string_view path);
/// A file's content, put together from its extents.
Bytes content_of(const std::string& image, const FileEntry& entry);
std::uint64_t total(const std::vector<ByteRange>& ranges);
/// Whether some of the extent is in one of the ranges.
bool lies_in(const std::vector<ByteRange>& ranges, const FileExtent& extent);
/// What --discard-free does: fills all free space with zeros.
void wipe_free_space(const std::string& path, const Volume& volume);

}  // namespace vmpack::test
