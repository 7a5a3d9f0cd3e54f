// SPDX-License-Identifier: Apache-2.0
#include "tools/diff_side.hpp"

#include <fmt/core.h>

#include <filesystem>
#include <unordered_map>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/ingest/file_records.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "tools/guest_files.hpp"
#include "tools/notes.hpp"

namespace vmpack::cli {
namespace {

class SnapshotSide final : public DiffSide {
 public:
  SnapshotSide(std::string name, const SnapshotDigest& snapshot, const DiffWorld& world)
      : name_(std::move(name)),
        snapshot_(snapshot),
        world_(world),
        manifest_(world.repository->manifest(snapshot)) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] std::optional<SnapshotDigest> snapshot() const override { return snapshot_; }

  [[nodiscard]] const ImageBytes& bytes() override {
    if (!bytes_) bytes_ = bytes_of(ImageReader::open(world_.repository, snapshot_, world_.cache));
    return *bytes_;
  }

  [[nodiscard]] const std::vector<VolumeSummary>& volumes() override { return manifest_.volumes; }

  [[nodiscard]] const std::optional<std::vector<VolumeFiles>>& files() override {
    if (!files_ && file_table_of(*world_.repository, snapshot_, manifest_)) {
      table_.emplace(*world_.repository, snapshot_, name_);
      files_ = table_->volumes();
    }
    return files_;
  }

  [[nodiscard]] std::optional<OsFacts> facts() override { return os_facts_of(*world_.repository, snapshot_); }

 private:
  std::string name_;
  SnapshotDigest snapshot_;
  const DiffWorld& world_;
  Manifest manifest_;
  std::optional<ImageBytes> bytes_;
  std::optional<SnapshotFiles> table_;
  std::optional<std::vector<VolumeFiles>> files_;
};

/// A file table's pages in memory, by a digest of their own.
using PagesInMemory = std::unordered_map<FrameDigest, Bytes, DigestHash>;

/// Inspected and cut as ingest does it, with nothing stored.
class ImageSide final : public DiffSide {
 public:
  ImageSide(std::string name, const DiffWorld& world)
      : name_(std::move(name)),
        world_(world),
        source_(open_source(name_, world.options.source(), world.progress)),
        bytes_{source_->size(), [this](std::uint64_t offset, ByteSpan into) { source_->read(offset, into); },
               [this](std::uint64_t offset, std::uint64_t length) {
                 return source_->data_ranges(offset, length);
               }} {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] std::optional<SnapshotDigest> snapshot() const override { return std::nullopt; }
  [[nodiscard]] const ImageBytes& bytes() override { return bytes_; }

  [[nodiscard]] const std::vector<VolumeSummary>& volumes() override {
    inspect_once();
    return volumes_;
  }

  [[nodiscard]] const std::optional<std::vector<VolumeFiles>>& files() override {
    inspect_once();
    if (files_) return files_;
    const RepositoryParameters parameters =
        world_.repository ? world_.repository->parameters() : RepositoryParameters{};
    const auto records = read_file_records(*source_, layout_, parameters, world_.progress);
    const auto keep = [this](Bytes page) {
      const FrameDigest name(sha256(page));
      pages_.try_emplace(name, std::move(page));
      return name;
    };
    files_.emplace();
    for (std::uint32_t i = 0; i < records.size(); ++i) {
      files_->push_back({build_file_table(i, records[i], keep).pages, [this](const FileTablePage& page) {
                           return decode_file_table_page(pages_.at(page.frame), name_);
                         }});
    }
    return files_;
  }

  [[nodiscard]] std::optional<OsFacts> facts() override {
    inspect_once();
    if (!appliance_) return std::nullopt;
    world_.progress.begin("reading the operating system", 0);
    ApplianceSession::Facts found = appliance_->facts();
    world_.progress.end();
    appliance_.reset();
    if (!found.failure.empty()) {
      world_.progress.warn(fmt::format("{}: no operating-system facts: {}", name_, found.failure));
      return std::nullopt;
    }
    return std::move(found.facts);
  }

 private:
  void inspect_once() {
    if (inspected_) return;
    inspected_ = true;
    appliance_ = start_appliance(world_.options.no_os, *source_);
    layout_ = inspect_image(*source_, appliance_.get(), world_.progress);
    if (appliance_) appliance_->complete(layout_, world_.progress);
    for (const Volume& volume : layout_.volumes) volumes_.push_back(summarize(volume));
  }

  std::string name_;
  const DiffWorld& world_;
  std::unique_ptr<Source> source_;
  ImageBytes bytes_;
  bool inspected_ = false;
  std::unique_ptr<ApplianceSession> appliance_;  // null: not wanted, or asked already
  Layout layout_;
  std::vector<VolumeSummary> volumes_;
  PagesInMemory pages_;
  std::optional<std::vector<VolumeFiles>> files_;
};

}  // namespace

const std::vector<VolumeFiles>& known_files(DiffSide& side) {
  const auto& files = side.files();
  if (!files) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("nothing is known of the files of {}", printable(side.name())),
                "'vmpack show' tells which volumes could be inspected");
  }
  return *files;
}

std::unique_ptr<DiffSide> open_side(const std::string& text, const DiffWorld& world) {
  const bool may_be_reference = text.find('/') == std::string::npos;
  if (may_be_reference && !world.repository && !std::filesystem::exists(text)) {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is no file, and no repository is named", text),
                "give --repo REPO, or set VMPACK_REPO");
  }
  if (may_be_reference && world.repository) {
    try {
      return std::make_unique<SnapshotSide>(text, world.repository->resolve(text), world);
    } catch (const Error& error) {
      const bool is_none = error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kInvalid;
      if (!is_none || !std::filesystem::exists(text)) throw;
    }
  }
  return std::make_unique<ImageSide>(text, world);
}

}  // namespace vmpack::cli
