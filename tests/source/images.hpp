// SPDX-License-Identifier: Apache-2.0
// Disks to read, made by QEMU's own tools, and what reading them gave.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack::test {

/// Keeps what it is warned of.
class Warnings final : public Progress {
 public:
  void begin(std::string_view, std::uint64_t) override {}
  void advance(std::uint64_t) override {}
  void end() override {}
  void warn(std::string_view message) override { list.emplace_back(message); }

  std::vector<std::string> list;
};

/// A disk of `size` bytes: data, zeros that are written, and parts never written.
[[nodiscard]] Bytes disk_bytes(std::size_t size, std::uint64_t seed);
/// Writes `bytes` to a raw file with holes where they are zero.
void write_sparse(const std::string& path, ByteView bytes);

/// Runs a tool (qemu-img, qemu-io, ...) in `folder`; the test ends when it fails.
void run_tool(const std::vector<std::string>& arguments, const std::string& folder = {});

/// Makes an overlay one of those that do not say which format their backing file has. qemu-img refuses to
/// make them.
void forget_backing_format(const std::string& qcow2);

[[nodiscard]] std::unique_ptr<Source> open_image(const std::string& image, const std::string& format = {},
                                                 const std::string& backing_root = {});
/// The whole image in one read. Checks on the way that what data_ranges() leaves out is zero, and that the
/// ranges keep the promises of source.hpp.
[[nodiscard]] Bytes read_image(Source& source);

/// The Error that opening throws.
[[nodiscard]] Error open_error(const std::string& image, const std::string& format = {},
                               const std::string& backing_root = {});

}  // namespace vmpack::test
