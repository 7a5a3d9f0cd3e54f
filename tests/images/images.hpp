// SPDX-License-Identifier: Apache-2.0
// Disk images with real file systems on them, made by the tools that everybody makes them with, and ways to
// spoil them. Needs nothing of vmpack's image wing: the programs under test read them as users' programs do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"

namespace vmpack::test {

/// Runs a tool (qemu-img, mke2fs, ...) in `folder` and returns what it printed; the test ends when the tool
/// fails.
std::string run_tool(const std::vector<std::string>& arguments, const std::string& folder = {},
                     const std::string& input = {});

/// `bytes` that are all zero and take no room.
void make_sparse_file(const std::string& path, std::uint64_t bytes);
/// Writes into a file that is there, or becomes one.
void overwrite(const std::string& path, std::uint64_t offset, ByteView bytes);
/// Text that compresses, the same for the same seed.
[[nodiscard]] Bytes text_bytes(std::uint64_t seed, std::size_t count);
/// A disk of `size` bytes in a raw file: noise, text, zeros that are written, and holes.
void make_mixed_disk(const std::string& path, std::uint64_t size, std::uint64_t seed);

/// Fills a folder with files of all kinds: empty, tiny, large, sparse, linked, with odd names; other ones for
/// another seed.
void fill_tree(const std::string& folder, std::uint64_t seed);
/// A raw image that is one file system with `folder` in it. `options` are for mke2fs.
void make_file_system(const std::string& path, const std::string& folder, std::uint64_t bytes,
                      const std::vector<std::string>& options);
/// The same with a tree of its own making, and UUID and times that are the same in every run.
void make_sample_image(const std::string& path, std::uint64_t bytes, std::uint64_t seed,
                       const std::vector<std::string>& options = {"-t", "ext4"});
/// A GPT disk of 32 MiB with two volumes: ext4 and, with 1 KiB blocks, ext2.
void make_disk_with_two_volumes(const std::string& path, std::uint64_t seed);

/// Runs requests on a file system one after the other; see debugfs(8).
void debugfs(const std::string& image, const std::vector<std::string>& requests);
struct FilePlace {
  std::uint64_t bytes = 0;
  std::vector<std::uint64_t> blocks;  ///< on the file system, in the file's order
};
/// Where files lie on a file system.
[[nodiscard]] std::vector<FilePlace> places_of(const std::string& image,
                                               const std::vector<std::string>& files);

[[nodiscard]] std::string sha256_of(const std::string& path);
/// What the file takes on the disk that holds it.
[[nodiscard]] std::uint64_t allocated_bytes(const std::string& path);
/// Whether two files hold the same bytes; both may be sparse, and of any size.
[[nodiscard]] bool same_bytes(const std::string& a, const std::string& b);

}  // namespace vmpack::test
