// SPDX-License-Identifier: Apache-2.0
// Files of a repository one behind the other in a single file, to be carried where no network goes. Written
// from front to end, so that it may go through a pipe. Format: formats/export.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// The first file in it: what it brings, and what it follows.
inline constexpr std::string_view kExportKey = "export.json";

/// One file in it.
struct ExportRecord {
  std::string key;
  std::uint64_t offset = 0;  ///< of its bytes, in the file
  std::uint64_t bytes = 0;
};

/// Fills `into` from `offset`; returns fewer bytes than asked for only where the file ends.
using ReadExport = std::function<std::size_t(std::uint64_t offset, ByteSpan into)>;

/// All files in it. Nothing is believed: throws kDamaged (no export, wrong checksum, a key that has no
/// business there or is there twice, cut off before its end), kUnsupported, kLimit. `where` is for errors.
[[nodiscard]] std::vector<ExportRecord> scan_export(const ReadExport& read, std::string_view where);

/// What can be put into a store, and nothing else, goes into the file. Not for use by two threads at once.
class ExportWriter final : public Store {
 public:
  /// `file` is written to from where it stands. `where` is for errors.
  ExportWriter(int file, std::string where);

  using Store::put_if_absent;
  bool put_if_absent(std::string_view key, std::span<const ByteView> parts) override;
  /// Its bytes are in memory until it is put.
  [[nodiscard]] std::unique_ptr<StoreDraft> begin_draft() override;
  [[nodiscard]] std::string location() const override { return where_; }

  /// Says that this is all. Without it the file counts as cut off.
  void finish();
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  bool replace_if_version(std::string_view key, ByteView bytes,
                          const std::optional<StoreVersion>& expected) override;
  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override;
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override;
  std::optional<StoreStat> stat(std::string_view key) override;
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override;
  void remove(std::string_view key) override;
  std::int64_t now() override;
  std::string local_path(std::string_view key) override;

 private:
  class Draft;
  void write(ByteView bytes);

  int file_;
  std::string where_;
  std::unordered_set<std::string> keys_;
  std::uint64_t bytes_ = 0;
};

/// An export as a store that can only be read. Any thread.
class ExportStore final : public Store {
 public:
  /// Throws as scan_export(), and as reading the tables of its packs.
  explicit ExportStore(const std::string& path);
  /// The same for a file that is open. `name` is for errors.
  ExportStore(FileDescriptor file, std::string name);

  /// Where a frame lies in it; empty where it does not bring that.
  [[nodiscard]] std::vector<FrameLocation> locate(const FrameDigest& frame) const;

  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override;
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override;
  std::optional<StoreStat> stat(std::string_view key) override;
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override;
  std::int64_t now() override;
  std::string local_path(std::string_view key) override;
  [[nodiscard]] std::string location() const override { return path_; }

  using Store::put_if_absent;
  bool put_if_absent(std::string_view key, std::span<const ByteView> parts) override;
  [[nodiscard]] std::unique_ptr<StoreDraft> begin_draft() override;
  bool replace_if_version(std::string_view key, ByteView bytes,
                          const std::optional<StoreVersion>& expected) override;
  void remove(std::string_view key) override;

 private:
  [[nodiscard]] const ExportRecord& record(std::string_view key) const;

  std::string path_;
  FileDescriptor file_;
  std::map<std::string, ExportRecord, std::less<>> records_;
  std::unordered_map<FrameDigest, FrameLocation, DigestHash> frames_;
};

}  // namespace vmpack
