// SPDX-License-Identifier: Apache-2.0
// A forgotten snapshot is named again while gc deletes it: at each of gc's operations, and killed at each of
// the writer's own.
#include <catch2/catch.hpp>

#include "libvmpack/base/error.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/repo/gc.hpp"
#include "libvmpack/repo/verify.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "tests/support/hooked_store.hpp"
#include "tests/support/memory_source.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack {
namespace {

using test::HookedStore;
using test::MemoryStore;
using test::MemoryStoreContents;

constexpr std::int64_t kGrace = 1000;
constexpr std::size_t kImageBytes = 64 * kKiB;
const ReferenceName kKept{"vm", "kept"};
const ReferenceName kForgotten{"vm", "forgotten"};
const ReferenceName kAgain{"vm", "again"};

std::shared_ptr<MemoryStoreContents> copy_of(const MemoryStoreContents& contents) {
  auto copy = std::make_shared<MemoryStoreContents>();
  copy->values = contents.values;
  copy->puts = contents.puts;
  copy->now = contents.now;
  return copy;
}

/// Makes every operation fail from the one with that number on: before it is done, or after.
class Killer {
 public:
  Killer(std::uint64_t at, bool after) : at_(at), after_(after) {}
  void operator()(bool done) {
    if (!done) ++count_;
    if (count_ > at_ || (count_ == at_ && done == after_)) throw Error(ErrorCode::kIo, "killed");
  }
  [[nodiscard]] bool struck() const { return count_ >= at_; }

 private:
  std::uint64_t at_;
  bool after_;
  std::uint64_t count_ = 0;
};

class Meeting {
 public:
  Meeting() {
    const auto store = std::make_shared<MemoryStore>(before_);
    Repository::init(*store, {});
    const auto repository = Repository::open(store);
    ingest_as(repository, kKept, 1);
    snapshot_ = ingest_as(repository, kForgotten, 2);
    repository->remove_reference(kForgotten);
    store->pass(1);
    collect(store);
    store->pass(kGrace);
  }

  /// gc runs, and at its operation `gc_at` the writer comes, until it is killed at its own `writer_at`. Tells
  /// whether gc came so far, and the writer.
  std::pair<bool, bool> play(std::uint64_t gc_at, std::uint64_t writer_at, bool after) {
    const auto contents = copy_of(*before_);
    const auto store = std::make_shared<MemoryStore>(contents);
    std::uint64_t count = 0;
    Killer killer(writer_at, after);
    collect(std::make_shared<HookedStore>(store, [&](std::string_view, std::string_view, bool done) {
      if (!done && ++count == gc_at) name_again(contents, killer);
    }));
    NoProgress progress;
    for (const VerifyFinding& finding : verify(store, {}, progress).damage) {
      INFO(finding.file << ": " << finding.what);
      CHECK(false);
    }
    CHECK(Repository::open(store)->find(kKept));
    return {count >= gc_at, killer.struck()};
  }

 private:
  static SnapshotDigest ingest_as(const std::shared_ptr<const Repository>& repository,
                                  const ReferenceName& name, std::uint64_t seed) {
    test::MemorySource source(test::random_bytes(seed, kImageBytes));
    NoProgress progress;
    Layout layout;
    layout.image_bytes = kImageBytes;
    return ingest(repository, source, layout, name, {}, progress).snapshot;
  }

  static void collect(const std::shared_ptr<Store>& store) {
    NoProgress progress;
    GcOptions options;
    options.grace_seconds = kGrace;
    options.lease_keeps_itself = false;
    collect_garbage(Repository::open(store), options, progress);
  }

  void name_again(const std::shared_ptr<MemoryStoreContents>& contents, Killer& killer) const {
    const auto store =
        std::make_shared<HookedStore>(std::make_shared<MemoryStore>(contents),
                                      [&](std::string_view, std::string_view, bool done) { killer(done); });
    try {
      const auto repository = Repository::open(store);
      WriterSession(*repository, false).commit(kAgain, snapshot_, true);
    } catch (const Error& error) {
      INFO(error.what());
      CHECK((error.code() == ErrorCode::kIo || error.code() == ErrorCode::kNotFound));
    }
  }

  std::shared_ptr<MemoryStoreContents> before_ = std::make_shared<MemoryStoreContents>();
  SnapshotDigest snapshot_;
};

}  // namespace

TEST_CASE("a writer that names what gc deletes leaves no reference to what is gone, whenever it is killed") {
  ::setenv("VMPACK_INDEX_CACHE", "off", 1);  // NOLINT(concurrency-mt-unsafe): before any thread
  Meeting meeting;
  bool gc_came = true;
  std::uint64_t histories = 0;
  for (std::uint64_t gc_at = 1; gc_came; ++gc_at) {
    bool writer_came = true;
    for (std::uint64_t writer_at = 1; writer_came && gc_came; ++writer_at) {
      for (const bool after : {false, true}) {
        INFO("gc's operation " << gc_at << ", the writer's " << writer_at << (after ? ", done" : ""));
        std::tie(gc_came, writer_came) = meeting.play(gc_at, writer_at, after);
        ++histories;
      }
    }
  }
  CHECK(histories > 1000);
}

}  // namespace vmpack
