// SPDX-License-Identifier: Apache-2.0
// Repositories of every format version stay readable, and what a later version wrote is refused by name: each
// kind of file is given a later version or an unknown feature, with all checksums, digests and names right.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <sstream>

#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/sealed_json.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/object_index.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/repo/verify.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {
namespace {

constexpr int kFailed = 1;
constexpr int kFound = 3;
const std::vector<std::string> kVersions = {"1", "1-delta-frames"};
const std::string kReference = "golden:1";

std::string golden(const std::string& name) { return program("VMPACK_SOURCE_DIR") + "/tests/golden/" + name; }

/// What the command prints, and the exit code that it ends with.
struct Refusal {
  std::vector<std::string> command;
  int exit_code = kFailed;
};

/// A copy of a golden repository, to be changed.
class Copy {
 public:
  explicit Copy(const std::string& version = "1") {
    std::filesystem::copy(golden("version-" + version), path(), std::filesystem::copy_options::recursive);
    store_ = open_store(path());
    repository_ = Repository::open(store_);
  }

  [[nodiscard]] std::string path() const { return folder_ / "repository"; }
  [[nodiscard]] std::string operator/(std::string_view name) const { return folder_ / name; }
  [[nodiscard]] Store& store() const { return *store_; }
  [[nodiscard]] const Repository& repository() const { return *repository_; }
  [[nodiscard]] SnapshotDigest snapshot() const { return repository_->resolve(kReference); }
  [[nodiscard]] Manifest manifest() const { return repository_->manifest(snapshot()); }

  [[nodiscard]] Bytes read(const std::string& key) const { return read_file(path() + "/" + key); }
  void write(const std::string& key, ByteView bytes) const {
    const std::filesystem::path file = path() + "/" + key;
    std::filesystem::create_directories(file.parent_path());
    write_file(file, bytes);
  }
  void remove(const std::string& key) const { std::filesystem::remove(path() + "/" + key); }
  /// Gives a file other bytes, and the name that is theirs.
  void replace(const std::string& old_key, const std::string& new_key, ByteView bytes) const {
    remove(old_key);
    write(new_key, bytes);
  }

  /// Points the reference at a manifest of this text, which replaces the one that it points at.
  void republish(const std::string& text) const {
    const SnapshotDigest old = snapshot();
    const SnapshotDigest changed(sha256(as_byte_view(text)));
    replace(manifest_key(old), manifest_key(changed), as_byte_view(text));
    repository_->set_reference(parse_reference_name(kReference), changed, true);
    remove(places_key(old));
    write_places(changed);
  }
  /// Writes where the frames of all packs lie.
  void write_places(const SnapshotDigest& snapshot) const {
    std::vector<FramePlace> places;
    for (const PackDigest& pack : list_packs(*store_)) {
      for (const PackFrame& frame : read_pack_tables(*store_, pack).frames) {
        places.push_back({frame.digest, {pack, frame.offset, frame.stored_bytes}});
      }
    }
    write(places_key(snapshot), encode_places(snapshot, std::move(places)));
  }

  /// Each command ends with its exit code and tells `words`; verify finds nothing else.
  void require_refused(const std::vector<Refusal>& refusals, const std::vector<std::string>& words) const {
    for (Refusal refusal : refusals) {
      refusal.command.insert(refusal.command.end(), {"--repo", path()});
      const CommandResult result = vmpack(refusal.command);
      INFO(fmt::format("vmpack {}: {}\n{}{}", fmt::join(refusal.command, " "), result.exit_code, result.out,
                       result.err));
      CHECK(result.exit_code == refusal.exit_code);
      for (const std::string& word : words) {
        INFO(word);
        CHECK((result.out + result.err).find(word) != std::string::npos);
      }
      std::istringstream lines(result.out);
      for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("damaged: ")) continue;
        INFO(line);
        CHECK(line.find(words.back()) != std::string::npos);
      }
      CHECK_FALSE(std::filesystem::exists(out()));
    }
  }
  [[nodiscard]] std::string out() const { return folder_ / "out"; }
  [[nodiscard]] Refusal restoring() const { return {{"restore", kReference, out()}, kFailed}; }

 private:
  TempDir folder_;
  std::shared_ptr<Store> store_;
  std::shared_ptr<Repository> repository_;
};

const Refusal kVerifying = {{"verify"}, kFound};

/// A later version, or a feature that nobody knows: how it is put into a file, and what it is called.
template <typename Head>
struct Later {
  std::function<void(Head&)> edit;
  std::string called;
};

const std::vector<Later<Envelope>> kLaterEnvelopes = {
    {[](Envelope& envelope) { envelope.version = 2; }, "format version 2"},
    {[](Envelope& envelope) { envelope.required_features = std::uint64_t{1} << 40U; },
     "the feature 'bit-40'"},
};

const std::vector<Later<OrderedJson>> kLaterJson = {
    {[](OrderedJson& json) { json["version"] = 2; }, "format version 2"},
    {[](OrderedJson& json) { json["required_features"] = {"time-travel"}; }, "the feature 'time-travel'"},
};

Bytes with_envelope(Bytes file, const std::function<void(Envelope&)>& edit) {
  auto envelope = read_struct<Envelope>(file);
  edit(envelope);
  envelope.checksum = xxh3(struct_bytes(envelope).first(offsetof(Envelope, checksum)));
  std::memcpy(file.data(), &envelope, sizeof(envelope));
  return file;
}

/// Writes an index of all packs, in the place of those that are there.
void write_index(const Copy& copy) {
  for (const std::string& name : files_below(copy.path() + "/index")) copy.remove("index/" + name);
  ObjectIndexBuilder builder;
  for (const PackDigest& pack : list_packs(copy.store())) {
    const PackTables tables = read_pack_tables(copy.store(), pack);
    builder.add_pack(pack);
    for (const PackFrame& frame : tables.frames) {
      builder.add_frame(frame.digest, frame.offset, frame.stored_bytes,
                        std::span(tables.objects).subspan(frame.first_object, frame.object_count), {});
    }
  }
  builder.write(copy.store());
}

/// The frame that holds the first directory of the block map: the map's root names it.
FrameDigest directory_frame(const Copy& copy) {
  const std::string key = map_key(copy.manifest().map);
  return decode_map_root(copy.read(key), key).directories.at(0).frame;
}

/// Changes the head of one frame, and all that follows from it: the frame's digest, its pack's, and the
/// index.
FrameDigest edit_frame(const Copy& copy, const FrameDigest& wanted, const std::function<void(Bytes&)>& edit) {
  FrameDigest changed;
  for (const PackDigest& pack : list_packs(copy.store())) {
    const PackTables tables = read_pack_tables(copy.store(), pack);
    if (std::ranges::find(tables.frames, wanted, &PackFrame::digest) == tables.frames.end()) continue;
    const Bytes file = copy.read(pack_key(pack));
    PackBuilder builder(copy.store());
    for (const PackFrame& frame : tables.frames) {
      const ByteView stored = ByteView(file).subspan(frame.offset, frame.stored_bytes);
      EncodedFrame encoded{frame.digest,    frame.object_class, static_cast<Codec>(stored[1]),
                           frame.raw_bytes, frame.object_count, {stored.begin(), stored.end()}};
      if (frame.digest == wanted) {
        edit(encoded.stored);
        changed = encoded.digest = FrameDigest(sha256(encoded.stored));
      }
      builder.add(std::move(encoded),
                  std::span(tables.objects).subspan(frame.first_object, frame.object_count));
    }
    copy.remove(pack_key(pack));
    builder.finish();
  }
  REQUIRE(changed != FrameDigest());
  write_index(copy);
  for (const SnapshotDigest& snapshot : copy.repository().snapshots()) copy.write_places(snapshot);
  return changed;
}

}  // namespace

TEST_CASE("a repository of every format version is whole, and gives back its images") {
  for (const std::string& version : kVersions) {
    INFO("version " << version);
    const Copy copy(version);
    CHECK(vmpack_done({"verify", "--repo", copy.path()}).find("all intact") != std::string::npos);
    std::istringstream sums(std::string(as_text(read_file(golden("version-" + version + ".sha256")))));
    std::string digest;
    std::string reference;
    int images = 0;
    for (; sums >> digest >> reference; ++images) {
      INFO(reference);
      vmpack_done({"restore", reference, copy.out(), "--force", "--repo", copy.path()});
      CHECK(sha256_of(copy.out()) == digest);
      CHECK(vmpack_json({"show", reference, "--repo", copy.path()}).at("references") ==
            OrderedJson{reference});
    }
    CHECK(images == 2);
    CHECK(vmpack_json({"list", "--repo", copy.path()}).at("references").size() == 2);
  }
}

TEST_CASE("the golden repository of delta frames holds one") {
  const Copy copy("1-delta-frames");
  std::size_t delta_frames = 0;
  for (const PackDigest& pack : list_packs(copy.store())) {
    const PackTables tables = read_pack_tables(copy.store(), pack);
    delta_frames += static_cast<std::size_t>(
        std::ranges::count_if(tables.frames, [](const PackFrame& frame) { return !frame.bases.empty(); }));
  }
  CHECK(delta_frames > 0);
}

TEST_CASE("a golden repository can be added to, and knows what it holds") {
  for (const std::string& version : kVersions) {
    INFO("version " << version);
    const Copy copy(version);
    const std::string image = copy / "image";
    vmpack_done({"restore", kReference, image, "--repo", copy.path()});
    const OrderedJson again = vmpack_json({"ingest", image, "again:1", "--no-os", "--repo", copy.path()});
    // Where files are cut may differ by version, what they hold does not.
    CHECK(again.at("data_bytes") ==
          vmpack_json({"show", kReference, "--repo", copy.path()})["manifest"]["image"]["data_bytes"]);
    vmpack_done({"restore", "again:1", copy.out(), "--repo", copy.path()});
    CHECK(same_bytes(copy.out(), image));
    vmpack_done({"verify", "--repo", copy.path()});
  }
}

TEST_CASE("what a test changes in a golden repository leaves it whole, versions apart") {
  const Copy copy;
  const FrameDigest frame = directory_frame(copy);
  CHECK(edit_frame(copy, frame, [](Bytes&) {}) == frame);
  copy.republish(to_json(copy.manifest()));
  const std::string key = map_key(copy.manifest().map);
  CHECK((with_envelope(copy.read(key), [](Envelope&) {}) == copy.read(key)));
  vmpack_done({"verify", "--repo", copy.path()});
}

TEST_CASE("a later vmpack.json is refused by name") {
  for (const auto& later : kLaterJson) {
    const Copy copy;
    OrderedJson json = OrderedJson::parse(as_text(copy.read("vmpack.json")));
    json.erase("xxh3");
    later.edit(json);
    copy.write("vmpack.json", as_byte_view(seal_json(dump_json(json))));
    copy.require_refused({copy.restoring(), {{"list"}}, {{"show", kReference}}, {{"stats"}}, {{"verify"}}},
                         {"vmpack.json", later.called});
  }
}

TEST_CASE("a later manifest is refused by name") {
  for (const auto& later : kLaterJson) {
    const Copy copy;
    OrderedJson json = OrderedJson::parse(as_text(copy.read(manifest_key(copy.snapshot()))));
    later.edit(json);
    copy.republish(dump_json(json) + "\n");
    copy.require_refused({copy.restoring(), {{"show", kReference}}, {{"stats"}}, kVerifying},
                         {manifest_key(copy.snapshot()), later.called});
  }
}

TEST_CASE("a later reference is refused by name") {
  for (const auto& later : kLaterJson) {
    const Copy copy;
    OrderedJson json = OrderedJson::parse(as_text(copy.read("refs/golden/1")));
    json.erase("xxh3");
    later.edit(json);
    copy.write("refs/golden/1", as_byte_view(seal_json(dump_json(json))));
    copy.require_refused({copy.restoring(), {{"show", kReference}}, kVerifying},
                         {"refs/golden/1", later.called});
  }
}

TEST_CASE("a later places file is refused by name") {
  for (const auto& later : kLaterEnvelopes) {
    const Copy copy;
    const std::string key = places_key(copy.snapshot());
    copy.write(key, with_envelope(copy.read(key), later.edit));
    copy.require_refused({copy.restoring(), kVerifying}, {key, later.called});
  }
}

TEST_CASE("a later block map is refused by name") {
  for (const auto& later : kLaterEnvelopes) {
    const Copy copy;
    Manifest manifest = copy.manifest();
    const std::string old_key = map_key(manifest.map);
    const Bytes map = with_envelope(copy.read(old_key), later.edit);
    manifest.map = MapDigest(sha256(map));
    copy.replace(old_key, map_key(manifest.map), map);
    copy.republish(to_json(manifest));
    copy.require_refused({copy.restoring(), kVerifying}, {map_key(manifest.map), later.called});
  }
}

TEST_CASE("a later file table is refused by name, and the image comes back all the same") {
  for (const auto& later : kLaterEnvelopes) {
    const Copy copy;
    Manifest manifest = copy.manifest();
    REQUIRE(manifest.files);
    const std::string old_key = file_table_key(*manifest.files);
    const Bytes table = with_envelope(copy.read(old_key), later.edit);
    manifest.files = FileTableDigest(sha256(table));
    copy.replace(old_key, file_table_key(*manifest.files), table);
    copy.republish(to_json(manifest));
    copy.require_refused({kVerifying}, {file_table_key(*manifest.files), later.called});
    vmpack_done({"restore", kReference, copy.out(), "--repo", copy.path()});
  }
}

TEST_CASE("a later object index is refused by name, and the images come back all the same") {
  for (const auto& later : kLaterEnvelopes) {
    const Copy copy;
    const std::string image = copy / "image";
    vmpack_done({"restore", kReference, image, "--repo", copy.path()});
    const std::string old_key = "index/" + files_below(copy.path() + "/index").front();
    const Bytes index = with_envelope(copy.read(old_key), later.edit);
    const std::string new_key = index_key(sha256(index));
    copy.replace(old_key, new_key, index);
    copy.require_refused({{{"ingest", image, "again:1", "--no-os"}}, kVerifying}, {new_key, later.called});
    vmpack_done({"restore", kReference, image, "--force", "--repo", copy.path()});
  }
}

TEST_CASE("a later pack is refused by name") {
  constexpr std::size_t kHeadBytes = 16;
  constexpr std::size_t kTrailerBytes = 112;
  const auto put = [](auto value, std::size_t at) {
    return [=](Bytes& file) { std::memcpy(file.data() + at, &value, sizeof(value)); };
  };
  const auto in_trailer = [&](const Bytes& file, std::size_t at) { return file.size() - kTrailerBytes + at; };
  const Copy sound;
  const PackDigest old = list_packs(sound.store()).front();
  const Bytes whole = sound.read(pack_key(old));
  const std::vector<Later<Bytes>> laters = {
      {[&](Bytes& file) {
         put(std::uint32_t{2}, 8)(file);
         put(std::uint32_t{2}, in_trailer(file, 96))(file);
       },
       "format version 2"},
      {put(std::uint64_t{1}, in_trailer(whole, 24)), "the feature 'bit-0'"},
  };
  for (const auto& later : laters) {
    const Copy copy;
    Bytes file = whole;
    later.edit(file);
    Sha256 hasher;
    hasher.update(ByteView(file).first(kHeadBytes));
    hasher.update(ByteView(file).last(kTrailerBytes));
    const PackDigest changed(hasher.finish());
    copy.replace(pack_key(old), pack_key(changed), file);
    // Places and index name packs by digest, and nothing else of them changes.
    for (const SnapshotDigest& snapshot : copy.repository().snapshots()) {
      std::vector<FramePlace> places;
      Places::open(copy.store(), snapshot)
          ->for_each([&](std::uint64_t prefix, const FrameLocation& location) {
            FramePlace place;
            for (std::size_t i = 0; i < 8; ++i)
              place.frame.bytes[i] = static_cast<std::uint8_t>(prefix >> (56 - 8 * i));
            place.location = location;
            if (place.location.pack == old) place.location.pack = changed;
            places.push_back(place);
          });
      copy.write(places_key(snapshot), encode_places(snapshot, std::move(places)));
    }
    for (const std::string& name : files_below(copy.path() + "/index")) copy.remove("index/" + name);
    copy.require_refused({{{"stats"}}, kVerifying}, {pack_key(changed), later.called});
  }
}

TEST_CASE("a later frame is refused by name") {
  const std::vector<std::pair<std::pair<std::size_t, unsigned>, std::string>> laters = {
      {{0, 2}, "format version 2"},         {{1, 9}, "the feature 'codec 9'"},
      {{2, 5}, "the feature 'checksum 5'"}, {{3, 1}, "the feature 'cipher 1'"},
      {{5, 1}, "the feature 'dictionary'"}, {{5, 0x80}, "the feature 'frame flags 0x80'"},
  };
  for (const auto& [field, called] : laters) {
    const Copy copy;
    const auto [offset, value] = field;
    const FrameDigest frame = directory_frame(copy);
    Manifest manifest = copy.manifest();
    const std::string old_key = map_key(manifest.map);
    MapRoot root = decode_map_root(copy.read(old_key), old_key);
    root.directories.at(0).frame =
        edit_frame(copy, frame, [&](Bytes& stored) { stored.at(offset) = static_cast<std::byte>(value); });
    const Bytes map = encode(root);
    manifest.map = MapDigest(sha256(map));
    copy.replace(old_key, map_key(manifest.map), map);
    copy.republish(to_json(manifest));
    copy.require_refused({copy.restoring(), kVerifying}, {"packs/", called});
  }
}

}  // namespace vmpack::test
