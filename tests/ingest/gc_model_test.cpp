// SPDX-License-Identifier: Apache-2.0
// Histories of a repository that many write into while others collect its garbage, against a model: writers
// that are killed, paused for longer than their leases last, cut off, or told that what they did had failed.
// After each step every reference reads as what it was last set to. VMPACK_MODEL_RUNS says how many histories
// (150 without it), VMPACK_MODEL_SEED which one comes first, and VMPACK_MODEL_S3_RUNS how many are played on
// an S3 server that fails, with conditional puts or without them (5).
#include <catch2/catch.hpp>
#include <cstdlib>
#include <functional>
#include <map>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/read/image_bytes.hpp"
#include "libvmpack/repo/copy.hpp"
#include "libvmpack/repo/gc.hpp"
#include "libvmpack/repo/leases.hpp"
#include "libvmpack/repo/repair.hpp"
#include "libvmpack/repo/verify.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "tests/ingest/model_place.hpp"
#include "tests/support/hooked_store.hpp"
#include "tests/support/memory_source.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack {
namespace {

using test::HookedStore;
using test::MemorySource;
using test::ModelPlace;
using test::Random;

constexpr std::size_t kImageBytes = 192 * kKiB;
constexpr std::size_t kBlockBytes4 = 4 * kKiB;
constexpr std::int64_t kGrace = 1000;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// One machine's sight of the store, and what befalls it.
struct Fate {
  enum Kind { kNone, kKilled, kLostReply, kLostRequest, kCutOff, kPaused };
  Kind kind = kNone;
  std::int64_t skew = 0;            ///< of the machine's clock, in seconds
  std::uint64_t at = 0;             ///< which operation
  std::uint64_t length = 0;         ///< of being cut off
  std::function<void()> meanwhile;  ///< of a pause
};

/// In a thread of its own: what waits for it is in the middle of something.
void run_elsewhere(const std::function<void()>& work) {
  std::exception_ptr error;
  std::thread([&] {
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
}

class Machine {
 public:
  Machine(const ModelPlace& place, Fate fate)
      : fate_(std::move(fate)),
        store_(std::make_shared<HookedStore>(
            place.store(), [this](std::string_view, std::string_view, bool done) { befall(done); },
            fate_.skew)) {}
  /// Throws what opening throws.
  std::shared_ptr<Repository> open() { return Repository::open(store_); }
  [[nodiscard]] const std::shared_ptr<HookedStore>& store() const { return store_; }

 private:
  void befall(bool done) {
    const std::uint64_t now = done ? count_.load() : ++count_;
    switch (fate_.kind) {
      case Fate::kNone:
        return;
      case Fate::kKilled:
        if (now > fate_.at || (now == fate_.at && done == (fate_.length == 0))) fail("killed");
        return;
      case Fate::kLostReply:
        if (now == fate_.at && done) fail("the reply is lost");
        return;
      case Fate::kLostRequest:
        if (now == fate_.at && !done) fail("the request is lost");
        return;
      case Fate::kCutOff:
        if (now >= fate_.at && now < fate_.at + fate_.length && !done) fail("no route");
        return;
      case Fate::kPaused:
        if (now == fate_.at && !done && !paused_.exchange(true)) run_elsewhere(fate_.meanwhile);
        return;
    }
  }
  [[noreturn]] static void fail(const char* what) { throw Error(ErrorCode::kIo, what); }

  Fate fate_;
  std::shared_ptr<HookedStore> store_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<bool> paused_{false};
};

class History {
 public:
  History(std::uint64_t seed, ModelPlace& place) : random_(seed), place_(place) {
    RepositoryParameters parameters;
    parameters.pack_bytes_target = kMiB;
    Repository::init(*place_.store(), parameters);
    make_other(parameters);
  }

  void step() {
    if (random_.below(3) == 0) place_.disturb(random_);
    play_one();
    place_.calm();
  }

  void check() {
    const auto repository = Repository::open(place_.store());
    REQUIRE(repository->references().size() == expected_.size());
    for (const auto& [name, image] : expected_) {
      INFO(name);
      REQUIRE(reads_as(*repository, repository, name, image));
    }
  }

  /// At the end all is as it must be, and what is not needed goes.
  void finish() {
    advance(100'000);
    collect({});
    advance(100'000);
    collect({});
    NoProgress progress;
    const VerifyReport report = verify(place_.store(), {}, progress);
    for (const VerifyFinding& finding : report.damage) {
      INFO(finding.file << ": " << finding.what);
      REQUIRE(false);
    }
    const auto repository = Repository::open(place_.store());
    std::vector<SnapshotDigest> named;
    for (const ReferenceEntry& entry : repository->references()) named.push_back(entry.snapshot);
    for (const SnapshotDigest& snapshot : repository->snapshots())
      REQUIRE(std::ranges::find(named, snapshot) != named.end());
  }

 private:
  using Image = std::shared_ptr<const Bytes>;
  using Act = Image (History::*)(const ReferenceName& name, const Fate& fate);

  void play_one() {
    switch (random_.below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return write(true);
      case 5:
        return forget();
      case 6:
        return pass();
      case 7:
        return mend(choose_fate(120));
      default:
        return collect(choose_fate(120));
    }
  }

  void write(bool may_pause) {
    const Fate fate = choose_fate(60, may_pause);
    switch (random_.below(6)) {
      case 0:
      case 1:
      case 2:
        return change("ingest", fate, &History::ingest_as);
      case 3:
        return change("copy", fate, &History::copy_as);
      default:
        return change("tag", fate, &History::tag_as);
    }
  }

  static bool reads_as(const Repository& repository, const std::shared_ptr<const Repository>& shared,
                       const std::string& name, const Image& image) {
    const auto entry = repository.find(parse_reference_name(name));
    if (!entry) return false;
    const ImageBytes bytes =
        bytes_of(ImageReader::open(shared, entry->snapshot, std::make_shared<FrameCache>(kMiB)));
    Bytes read(bytes.size);
    bytes.read(0, read);
    return read == *image;
  }

  ReferenceName choose_name() { return {"vm", std::to_string(random_.below(6))}; }

  Fate choose_fate(std::uint64_t operations, bool may_pause = true) {
    Fate fate;
    if (random_.below(3) == 0) fate.skew = static_cast<std::int64_t>(random_.below(61)) - 30;
    const std::uint64_t kind = random_.below(may_pause ? 10 : 7);
    if (kind < 3) return fate;
    fate.kind = kind == 3   ? Fate::kKilled
                : kind == 4 ? Fate::kLostReply
                : kind == 5 ? Fate::kLostRequest
                : kind == 6 ? Fate::kCutOff
                            : Fate::kPaused;
    fate.at = 1 + random_.below(operations);
    fate.length = random_.below(12);
    fate.meanwhile = [this] {
      for (std::uint64_t count = 1 + random_.below(3); count > 0; --count) meanwhile();
    };
    return fate;
  }

  /// What others do while one is paused.
  void meanwhile() {
    switch (random_.below(7)) {
      case 0:
        return pass();
      case 1:
        return advance(Lease::kLeaseSeconds + kGrace + 10);
      case 2:
        return forget();
      case 3:
      case 4:
        return write(false);
      default:
        return collect({});
    }
  }

  void pass() {
    advance(static_cast<std::int64_t>(random_.below(2) == 0 ? random_.below(100) : random_.below(3000)));
  }
  void advance(std::int64_t seconds) { place_.pass(seconds); }

  Bytes new_image() {
    Bytes image(kImageBytes);
    if (!images_.empty()) image = *images_[random_.below(images_.size())];
    if (random_.below(4) == 0 && !images_.empty()) return image;  // the very same again
    for (std::uint64_t count = 1 + random_.below(4); count > 0; --count) {
      const std::size_t length = kBlockBytes4 * (1 + random_.below(12));
      const std::size_t at = kBlockBytes4 * random_.below((kImageBytes - length) / kBlockBytes4);
      std::ranges::copy(test::random_bytes(random_.below(12), length),
                        image.begin() + static_cast<std::ptrdiff_t>(at));
    }
    return image;
  }

  Image ingest_as(const ReferenceName& name, const Fate& fate) {
    auto image = std::make_shared<const Bytes>(new_image());
    images_.push_back(image);
    attempted_ = image;
    Machine machine(place_, fate);
    snapshots_.emplace_back(ingest_into(machine.open(), name, image), image);
    return image;
  }

  /// Of a snapshot that has a name, or had one.
  Image tag_as(const ReferenceName& name, const Fate& fate) {
    if (snapshots_.empty()) return nullptr;
    const auto& [snapshot, image] = snapshots_[random_.below(snapshots_.size())];
    attempted_ = image;
    Machine machine(place_, fate);
    const auto repository = machine.open();
    const WriterSession session(*repository, false);
    session.commit(name, snapshot, true);
    return image;
  }

  /// Another repository, with images that may be here too.
  void make_other(const RepositoryParameters& parameters) {
    const auto store = test::make_memory_place()->store();
    Repository::init(*store, parameters);
    other_ = Repository::open(store);
    for (int i = 0; i < 3; ++i) {
      images_.push_back(std::make_shared<const Bytes>(new_image()));
      const ReferenceName name{"other", std::to_string(i)};
      other_images_.push_back({ingest_into(other_, name, images_.back()), images_.back()});
    }
  }

  static SnapshotDigest ingest_into(const std::shared_ptr<const Repository>& repository,
                                    const ReferenceName& name, const Image& image) {
    MemorySource source(*image);
    NoProgress progress;
    Layout layout;
    layout.image_bytes = image->size();
    IngestOptions options;
    options.force = true;
    return ingest(repository, source, layout, name, options, progress).snapshot;
  }

  Image copy_as(const ReferenceName& name, const Fate& fate) {
    const auto& [snapshot, image] = other_images_[random_.below(other_images_.size())];
    attempted_ = image;
    Machine machine(place_, fate);
    NoProgress progress;
    const std::vector<CopyItem> items{{snapshot, name}};
    CopyOptions options;
    options.force = true;
    copy_snapshots(other_, *machine.open(), items, options, progress);
    snapshots_.emplace_back(snapshot, image);
    return image;
  }

  /// There is nothing to mend: nothing may come to harm.
  void mend(Fate fate) {
    NoProgress progress;
    try {
      Machine machine(place_, std::move(fate));
      repair(machine.store(), other_, {}, progress);
    } catch (const Error& error) {
      // What gc deletes while it looks, it may miss.
      INFO("repair: " << error.what());
      REQUIRE((error.code() == ErrorCode::kIo || error.code() == ErrorCode::kNotFound));
    }
  }

  void change(const char* what, const Fate& fate, Act act) {
    if (busy_) return;
    const ReferenceName name = choose_name();
    busy_ = name.text();
    attempted_ = nullptr;
    const auto was = expected_.find(name.text());
    const Image before = was == expected_.end() ? nullptr : was->second;
    try {
      const Image now = (this->*act)(name, fate);
      if (now) expected_[name.text()] = now;
    } catch (const Error& error) {
      INFO(what << " of " << name.text() << " failed: " << error.what());
      settle(name, before);
    }
    busy_.reset();
  }

  /// After a failure it is as before, or as it should have become.
  void settle(const ReferenceName& name, const Image& before) {
    const auto repository = Repository::open(place_.store());
    const bool is_there = repository->find(name).has_value();
    if (!is_there) {
      REQUIRE(!before);
      return;
    }
    if (attempted_ && reads_as(*repository, repository, name.text(), attempted_)) {
      expected_[name.text()] = attempted_;
      return;
    }
    REQUIRE(before);
    REQUIRE(reads_as(*repository, repository, name.text(), before));
  }

  void forget() {
    if (expected_.empty()) return;
    const auto reference =
        std::next(expected_.begin(), static_cast<std::ptrdiff_t>(random_.below(expected_.size())));
    if (busy_ == reference->first) return;
    Repository::open(place_.store())->remove_reference(parse_reference_name(reference->first));
    expected_.erase(reference);
  }

  void collect(Fate fate) {
    NoProgress progress;
    GcOptions options;
    options.grace_seconds = kGrace;
    options.lease_keeps_itself = false;
    try {
      Machine machine(place_, std::move(fate));
      collect_garbage(machine.open(), options, progress);
    } catch (const Error& error) {
      INFO("gc: " << error.what());
      REQUIRE((error.code() == ErrorCode::kIo || error.code() == ErrorCode::kRefused));
    }
  }

  Random random_;
  ModelPlace& place_;
  std::map<std::string, Image> expected_;
  std::vector<Image> images_;
  std::shared_ptr<const Repository> other_;
  std::vector<std::pair<SnapshotDigest, Image>> other_images_;
  std::vector<std::pair<SnapshotDigest, Image>> snapshots_;  // that were committed here, perhaps gone by now
  Image attempted_;
  std::optional<std::string> busy_;  // the name that a paused writer is about to set
};

template <typename MakePlace>
void play(std::uint64_t runs, MakePlace make_place) {
  ::setenv("VMPACK_INDEX_CACHE", "off", 1);  // NOLINT(concurrency-mt-unsafe): before any thread
  const std::uint64_t first = number_from("VMPACK_MODEL_SEED", 1);
  for (std::uint64_t seed = first; seed < first + runs; ++seed) {
    INFO("seed " << seed);
    const auto place = make_place(seed);
    History history(seed, *place);
    for (int step = 0; step < 14; ++step) {
      INFO("step " << step);
      history.step();
      history.check();
    }
    history.finish();
  }
}

}  // namespace

TEST_CASE("whatever befalls writers and collectors, no reference loses a byte") {
  play(number_from("VMPACK_MODEL_RUNS", 150), [](std::uint64_t) { return test::make_memory_place(); });
}

TEST_CASE("nor does one in a bucket whose server fails, whether it heeds conditions or not") {
  const test::S3Stub stub;
  play(number_from("VMPACK_MODEL_S3_RUNS", 5),
       [&](std::uint64_t seed) { return test::make_s3_place(stub, seed); });
}

}  // namespace vmpack
