// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/nbd_source.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <type_traits>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/source/data_ranges.hpp"

namespace vmpack {
namespace {

// More do not read faster: qemu-nbd serves all of them from one thread.
constexpr std::size_t kConnectionsMax = 4;

class NbdSource final : public Source {
 public:
  NbdSource(NbdEndpoint endpoint, std::unique_ptr<QemuNbd> server, SourceFacts facts,
            std::string changes_context = {})
      : endpoint_(std::move(endpoint)),
        server_(std::move(server)),
        facts_(std::move(facts)),
        changes_context_(std::move(changes_context)) {
    auto first = guarded("cannot open", [&] { return connect(); });
    export_bytes_ = first->size();
    alignment_ = first->alignment();
    has_block_status_ = first->has_block_status();
    has_changes_ = first->has_changes();
    if (!first->multi_connection()) connections_max_ = 1;
    if (export_bytes_ > limits::kImageBytesMax) {
      throw Error(ErrorCode::kLimit,
                  fmt::format("{} is a disk of {}, more than the {} allowed", facts_.location,
                              format_bytes(export_bytes_), format_bytes(limits::kImageBytesMax)));
    }
    if (export_bytes_ % alignment_ != 0) {
      throw Error(ErrorCode::kIo,
                  fmt::format("{}: the server's size {} is not a multiple of its block size {}",
                              facts_.location, export_bytes_, alignment_));
    }
    idle_.push_back(std::move(first));
    open_ = 1;
  }

  std::uint64_t size() const override { return round_up(export_bytes_, kSectorBytes); }

  void read(std::uint64_t offset, ByteSpan into) override {
    VMPACK_ASSERT(offset <= size() && into.size() <= size() - offset);
    const std::uint64_t end = std::min(offset + into.size(), std::max(export_bytes_, offset));
    const ByteSpan stored = into.first(end - offset);
    std::ranges::fill(into.subspan(stored.size()), std::byte{0});
    if (stored.empty()) return;
    with_connection("cannot read", [&](NbdConnection& connection) {
      if (offset % alignment_ == 0 && stored.size() % alignment_ == 0) {
        connection.read(offset, stored);
      } else {
        read_unaligned(connection, offset, stored);
      }
    });
  }

  std::vector<ByteRange> data_ranges(std::uint64_t offset, std::uint64_t length) override {
    VMPACK_ASSERT(offset <= size() && length <= size() - offset);
    if (!has_block_status_) {
      DataRanges ranges({offset, length});
      ranges.add(offset, std::min(offset + length, export_bytes_));
      return ranges.take();
    }
    return find("cannot find the holes of", {offset, length}, &NbdConnection::find_data);
  }

  /// What the context for changes calls changed, in all of the image.
  std::vector<ByteRange> changed_ranges() {
    if (!has_changes_) {
      throw Error(
          ErrorCode::kNotFound,
          fmt::format("{} tells nothing of {}", facts_.location, printable(changes_context_)),
          "export the disk with that bitmap (QMP: nbd-server-add, or block-export-add with \"bitmaps\")");
    }
    std::vector<ByteRange> ranges =
        find("cannot find the changes of", {0, size()}, &NbdConnection::find_changes);
    // What joins ranges so that they do not become too many would take in what did not change.
    if (ranges.size() >= kDataRangesMax) {
      throw Error(ErrorCode::kLimit, fmt::format("{} has changes in too many places", facts_.location),
                  "ingest the whole image with --parent");
    }
    return ranges;
  }

  const SourceFacts& facts() const override { return facts_; }
  SourceAttachment attachment() const override { return {{}, endpoint_.socket_path, endpoint_.uri}; }

 private:
  std::unique_ptr<NbdConnection> connect() const {
    return std::make_unique<NbdConnection>(
        endpoint_, NbdPatience{},
        [this] { return server_ ? server_->why_gone(std::chrono::milliseconds(0)) : std::string(); },
        changes_context_);
  }

  // The extents in `window` that `finder` tells.
  std::vector<ByteRange> find(std::string_view doing, ByteRange window,
                              void (NbdConnection::*finder)(std::uint64_t, std::uint64_t,
                                                            const NbdConnection::AddExtent&)) {
    DataRanges ranges(window);
    const std::uint64_t start = round_down(window.offset, alignment_);
    const std::uint64_t stop = round_up(std::min(window.end(), export_bytes_), alignment_);
    if (start >= stop) return {};
    with_connection(doing, [&](NbdConnection& connection) {
      ranges = DataRanges(window);  // anew on a second try
      (connection.*finder)(start, stop - start,
                           [&](std::uint64_t from, std::uint64_t to) { ranges.add(from, to); });
    });
    return ranges.take();
  }

  // Runs `work`, and says in its errors which image this is about and what qemu-nbd said.
  template <typename Work>
  std::invoke_result_t<Work> guarded(std::string_view doing, const Work& work) const {
    try {
      return work();
    } catch (const NbdFailure& failure) {
      // A server that just died says more than a connection that was reset, but not at once.
      const std::string reason =
          server_ && failure.connection_lost() ? server_->why_gone(std::chrono::seconds(1)) : std::string();
      const std::string said = server_ ? server_->last_words() : std::string();
      throw Error(
          looks_damaged(said) ? ErrorCode::kDamaged : ErrorCode::kIo,
          fmt::format("{} {}: {}{}{}", doing, facts_.location,
                      reason.empty() ? printable(failure.what()) : reason, said.empty() ? "" : ": ", said),
          server_ ? "" : "check that the server is there and serves this export");
    }
  }

  // A lost connection is worth a second try: servers drop idle ones, and reading twice does no harm.
  template <typename Work>
  void with_connection(std::string_view doing, const Work& work) {
    guarded(doing, [&] {
      if (!try_with_connection(work, true)) try_with_connection(work, false);
    });
  }

  template <typename Work>
  bool try_with_connection(const Work& work, bool may_lose) {
    std::unique_ptr<NbdConnection> connection = acquire();
    try {
      work(*connection);
    } catch (const NbdFailure& failure) {
      release(failure.connection_lost() ? nullptr : std::move(connection));
      if (failure.connection_lost() && may_lose) return false;
      throw;
    } catch (...) {
      release(nullptr);
      throw;
    }
    release(std::move(connection));
    return true;
  }

  std::unique_ptr<NbdConnection> acquire() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !idle_.empty() || open_ == 0 || open_ < connections_max_; });
    if (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
    ++open_;
    lock.unlock();
    try {
      auto connection = connect();
      if (connection->size() != export_bytes_)
        throw NbdFailure("the export was replaced by another one", true);
      return connection;
    } catch (...) {
      release(nullptr);
      throw;
    }
  }

  // A null connection is one that was lost.
  void release(std::unique_ptr<NbdConnection> connection) {
    const std::scoped_lock lock(mutex_);
    if (connection) {
      idle_.push_back(std::move(connection));
    } else {
      --open_;
    }
    changed_.notify_one();
  }

  void read_unaligned(NbdConnection& connection, std::uint64_t offset, ByteSpan into) const {
    const std::uint64_t first = round_down(offset, alignment_);
    Bytes whole(round_up(offset + into.size(), alignment_) - first);
    connection.read(first, whole);
    std::ranges::copy(ByteView(whole).subspan(offset - first, into.size()), into.begin());
  }

  NbdEndpoint endpoint_;
  std::unique_ptr<QemuNbd> server_;
  SourceFacts facts_;
  std::string changes_context_;
  bool has_changes_ = false;
  std::uint64_t export_bytes_ = 0;
  std::uint64_t alignment_ = 1;
  bool has_block_status_ = false;
  std::size_t connections_max_ = kConnectionsMax;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<NbdConnection>> idle_;
  std::size_t open_ = 0;  ///< idle and in use
};

}  // namespace

std::unique_ptr<Source> open_nbd(const NbdEndpoint& endpoint, std::unique_ptr<QemuNbd> server,
                                 SourceFacts facts) {
  return std::make_unique<NbdSource>(endpoint, std::move(server), std::move(facts));
}

Changes open_nbd_changes(const NbdEndpoint& endpoint, std::unique_ptr<QemuNbd> server, SourceFacts facts,
                         const std::string& context) {
  auto source = std::make_unique<NbdSource>(endpoint, std::move(server), std::move(facts), context);
  std::vector<ByteRange> ranges = source->changed_ranges();
  return {std::move(source), std::move(ranges), {}};
}

}  // namespace vmpack
