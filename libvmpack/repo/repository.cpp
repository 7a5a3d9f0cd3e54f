// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/repository.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <random>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/sealed_json.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kRepositoryKey = "vmpack.json";
constexpr std::string_view kRepositoryFormat = "vmpack-repository";
constexpr std::string_view kReferenceFormat = "vmpack-reference";
constexpr std::string_view kSnapshotsPrefix = "snapshots/";
constexpr std::string_view kReferencesPrefix = "refs/";
constexpr std::string_view kNotesPrefix = "notes/";
constexpr std::string_view kRemovedFeature = "removed";
constexpr int kReferenceRaces = 16;

std::string random_id() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", random());
  return id;
}

std::string reference_key(const ReferenceName& name) {
  return fmt::format("refs/{}/{}", name.name, name.tag);
}

std::string note_key(const SnapshotDigest& snapshot, std::string_view kind) {
  return fmt::format("notes/{}/{}.json", snapshot.hex(), kind);
}

/// Says that a snapshot was once committed as `name`, so that name@digest outlives the tag.
std::string name_note(std::string_view name) { return fmt::format("names/{}", name); }

OrderedJson parameters_to_json(const RepositoryParameters& parameters) {
  return {{"whole_file_bytes_max", parameters.whole_file_bytes_max},
          {"cut_bytes_min", parameters.cut_bytes_min},
          {"cut_bytes_target", parameters.cut_bytes_target},
          {"cut_bytes_max", parameters.cut_bytes_max},
          {"frame_bytes_target", parameters.frame_bytes_target},
          {"pack_bytes_target", parameters.pack_bytes_target}};
}

RepositoryParameters parameters_from_json(const OrderedJson& json, std::string_view where) {
  RepositoryParameters parameters;
  parameters.whole_file_bytes_max = json.at("whole_file_bytes_max").get<std::uint32_t>();
  parameters.cut_bytes_min = json.at("cut_bytes_min").get<std::uint32_t>();
  parameters.cut_bytes_target = json.at("cut_bytes_target").get<std::uint32_t>();
  parameters.cut_bytes_max = json.at("cut_bytes_max").get<std::uint32_t>();
  parameters.frame_bytes_target = json.at("frame_bytes_target").get<std::uint32_t>();
  parameters.pack_bytes_target = json.at("pack_bytes_target").get<std::uint32_t>();
  const bool sane =
      parameters.whole_file_bytes_max <= limits::kObjectBytesMax && parameters.cut_bytes_min >= 512 &&
      parameters.cut_bytes_min < parameters.cut_bytes_target &&
      parameters.cut_bytes_target < parameters.cut_bytes_max &&
      parameters.cut_bytes_max <= limits::kObjectBytesMax && parameters.frame_bytes_target >= 4096 &&
      parameters.frame_bytes_target <= limits::kFrameRawBytesMax / 2 &&
      parameters.pack_bytes_target >= kMiB && parameters.pack_bytes_target <= limits::kPackBytesMax / 2;
  if (!sane) throw Error(ErrorCode::kUnsupported, fmt::format("{} has parameters out of range", where));
  return parameters;
}

/// What the file of a reference says. Without a snapshot the reference was removed: the file stays, so that
/// the sequence never goes back.
struct ReferenceState {
  std::optional<SnapshotDigest> snapshot;
  std::uint64_t sequence = 0;
  std::int64_t time = 0;
};

ReferenceState reference_from_text(const ReferenceName& name, std::string_view text, std::string_view where) {
  return read_json(check_sealed_json(text, where), where, [&](const OrderedJson& json) {
    check_json_format(json, kReferenceFormat, {kRemovedFeature}, where);
    if (json.at("name").get<std::string>() != name.name || json.at("tag").get<std::string>() != name.tag) {
      throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: it belongs to another reference", where));
    }
    ReferenceState state{{}, json.at("sequence").get<std::uint64_t>(), json.at("time").get<std::int64_t>()};
    if (json.at("required_features").empty()) {
      state.snapshot = SnapshotDigest(digest_from_json(json.at("snapshot"), where));
    }
    return state;
  });
}

std::string reference_to_text(const ReferenceName& name, const ReferenceState& state) {
  OrderedJson json = {{"format", kReferenceFormat},
                      {"version", kFormatVersion},
                      {"required_features", OrderedJson::array()},
                      {"name", name.name},
                      {"tag", name.tag}};
  if (state.snapshot) {
    json["snapshot"] = state.snapshot->hex();
  } else {
    json["required_features"].push_back(kRemovedFeature);
  }
  json["sequence"] = state.sequence;
  json["time"] = state.time;
  return seal_json(dump_json(json));
}

/// The file of a reference; nullopt when it was never set. With `version`, what to replace.
std::optional<ReferenceState> read_reference(Store& store, const ReferenceName& name,
                                             std::optional<StoreVersion>* version = nullptr) {
  const std::string key = reference_key(name);
  try {
    StoreStat stat;
    const Bytes bytes = store.get(key, limits::kJsonBytesMax, &stat);
    if (version != nullptr) *version = stat.version;
    return reference_from_text(name, as_text(bytes), key);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNotFound) return std::nullopt;
    throw;
  }
}

/// "refs/web/v1" to web:v1; nullopt for what no reference is kept under.
std::optional<ReferenceName> reference_of_key(std::string_view key) {
  key.remove_prefix(kReferencesPrefix.size());
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  ReferenceName name{std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))};
  try {
    if (parse_reference_name(name.text()) != name) return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
  return name;
}

}  // namespace

Repository::Repository(std::shared_ptr<Store> store, RepositoryParameters parameters, std::string id)
    : store_(std::move(store)), parameters_(parameters), id_(std::move(id)) {}

void Repository::init(Store& store, const RepositoryParameters& parameters) {
  if (store.stat(kRepositoryKey)) {
    throw Error(ErrorCode::kAlreadyExists,
                fmt::format("{} is a vmpack repository already", store.location()));
  }
  std::string other;
  store.list("", [&](const std::string& key, std::uint64_t) {
    if (other.empty()) other = key;
  });
  if (!other.empty()) {
    throw Error(ErrorCode::kRefused, fmt::format("{} is not empty: it holds {}", store.location(), other),
                "name a new or an empty folder");
  }
  const OrderedJson json = {{"format", kRepositoryFormat},
                            {"version", kFormatVersion},
                            {"required_features", OrderedJson::array()},
                            {"id", random_id()},
                            {"parameters", parameters_to_json(parameters)}};
  if (!store.put_if_absent(kRepositoryKey, as_byte_view(seal_json(dump_json(json))))) {
    throw Error(ErrorCode::kAlreadyExists,
                fmt::format("{} is a vmpack repository already", store.location()));
  }
}

std::shared_ptr<Repository> Repository::open(std::shared_ptr<Store> store) {
  const std::string where = fmt::format("{}/{}", store->location(), kRepositoryKey);
  if (!store->stat(kRepositoryKey)) {
    throw Error(
        ErrorCode::kNotFound, fmt::format("{} is not a vmpack repository", store->location()),
        fmt::format("make one with 'vmpack init {}', or name another with --repo", store->location()));
  }
  const Bytes bytes = store->get(kRepositoryKey, limits::kJsonBytesMax);
  return read_json(check_sealed_json(as_text(bytes), where), where, [&](const OrderedJson& json) {
    check_json_format(json, kRepositoryFormat, {}, where);
    return std::shared_ptr<Repository>(new Repository(std::move(store),
                                                      parameters_from_json(json.at("parameters"), where),
                                                      json.at("id").get<std::string>()));
  });
}

std::vector<ReferenceEntry> Repository::references(std::vector<std::string>* damaged) const {
  std::vector<std::string> keys;
  store_->list(kReferencesPrefix, [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
  std::vector<ReferenceEntry> entries;
  for (const std::string& key : keys) {
    const auto name = reference_of_key(key);
    if (!name) {
      if (damaged != nullptr) damaged->push_back(fmt::format("{} is not a reference", key));
      continue;
    }
    try {
      if (auto entry = find(*name)) entries.push_back(std::move(*entry));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;
      if (damaged != nullptr) damaged->push_back(error.what());
    }
  }
  std::ranges::sort(entries, {}, &ReferenceEntry::name);
  return entries;
}

std::optional<ReferenceEntry> Repository::find(const ReferenceName& name) const {
  const auto state = read_reference(*store_, name);
  if (!state || !state->snapshot) return std::nullopt;
  return ReferenceEntry{name, *state->snapshot, state->sequence, state->time};
}

SnapshotDigest Repository::resolve(std::string_view text) const {
  const auto reference = parse_reference(text);
  if (const auto* name = std::get_if<ReferenceName>(&reference)) {
    if (const auto entry = find(*name)) return entry->snapshot;
    throw Error(ErrorCode::kNotFound, fmt::format("there is no {} in {}", name->text(), store_->location()),
                "'vmpack list' shows what there is");
  }
  const auto& by_digest = std::get<DigestReference>(reference);
  std::vector<SnapshotDigest> found;
  for (const SnapshotDigest& snapshot : snapshots()) {
    if (snapshot.hex().starts_with(by_digest.digest_prefix) && note(snapshot, name_note(by_digest.name))) {
      found.push_back(snapshot);
    }
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    throw Error(ErrorCode::kNotFound, fmt::format("there is no snapshot {} in {}", text, store_->location()),
                "'vmpack list' shows what there is");
  }
  throw Error(ErrorCode::kInvalid, fmt::format("{} names {} snapshots", text, found.size()),
              "give more digits");
}

void Repository::set_reference(const ReferenceName& name, const SnapshotDigest& snapshot, bool force) const {
  if (!note(snapshot, name_note(name.name))) {
    put_note(snapshot, name_note(name.name), dump_json({{"time", store_->now()}}));
  }
  for (int attempt = 0; attempt < kReferenceRaces; ++attempt) {
    std::optional<StoreVersion> version;
    std::optional<ReferenceState> old;
    bool taken = false;
    try {
      old = read_reference(*store_, name, &version);
      taken = old && old->snapshot;
    } catch (const Error& error) {
      if (!force || error.code() != ErrorCode::kDamaged) throw;
    }
    if (taken && old->snapshot == snapshot) return;
    if (taken && !force) {
      throw Error(ErrorCode::kAlreadyExists, fmt::format("{} exists already", name.text()),
                  "choose another tag, or move it with --force");
    }
    const ReferenceState state{snapshot, old ? old->sequence + 1 : 1, store_->now()};
    const std::string text = reference_to_text(name, state);
    if (store_->replace_if_version(reference_key(name), as_byte_view(text), version)) return;
  }
  throw Error(ErrorCode::kIo, fmt::format("{} keeps being moved by others", name.text()), "try again");
}

ReferenceEntry Repository::remove_reference(const ReferenceName& name) const {
  for (int attempt = 0; attempt < kReferenceRaces; ++attempt) {
    std::optional<StoreVersion> version;
    const auto old = read_reference(*store_, name, &version);
    if (!old || !old->snapshot) {
      throw Error(ErrorCode::kNotFound, fmt::format("there is no {} in {}", name.text(), store_->location()),
                  "'vmpack list' shows what there is");
    }
    const std::string text = reference_to_text(name, {{}, old->sequence + 1, store_->now()});
    if (store_->replace_if_version(reference_key(name), as_byte_view(text), version)) {
      return {name, *old->snapshot, old->sequence, old->time};
    }
  }
  throw Error(ErrorCode::kIo, fmt::format("{} keeps being moved by others", name.text()), "try again");
}

std::int64_t Repository::stored_seconds(const SnapshotDigest& snapshot) const {
  const std::string key = manifest_key(snapshot);
  const auto stat = store_->stat(key);
  if (!stat) throw Error(ErrorCode::kNotFound, fmt::format("{}/{} is missing", store_->location(), key));
  return stat->modified_seconds;
}

std::vector<NamedSnapshot> Repository::committed_as(std::string_view name) const {
  std::vector<SnapshotDigest> noted;
  store_->list(kNotesPrefix, [&](const std::string& key, std::uint64_t) {
    const auto digest = Digest::from_hex(std::string_view(key).substr(kNotesPrefix.size(), 64));
    if (digest && note_key(SnapshotDigest(*digest), name_note(name)) == key) noted.emplace_back(*digest);
  });
  std::vector<NamedSnapshot> snapshots;
  for (const SnapshotDigest& snapshot : noted) {
    // Notes of a snapshot that is gone, or not yet there.
    if (!store_->stat(manifest_key(snapshot))) continue;
    const std::string kind = name_note(name);
    const auto text = note(snapshot, kind);
    const auto time =
        text ? read_json(*text, kind,
                         [](const OrderedJson& json) { return json.value("time", std::int64_t{0}); })
             : 0;
    snapshots.push_back({snapshot, time != 0 ? time : stored_seconds(snapshot)});
  }
  return snapshots;
}

std::vector<SnapshotDigest> Repository::snapshots() const {
  std::vector<SnapshotDigest> snapshots;
  store_->list(kSnapshotsPrefix, [&](const std::string& key, std::uint64_t) {
    const auto digest = Digest::from_hex(std::string_view(key).substr(kSnapshotsPrefix.size(), 64));
    if (digest && manifest_key(SnapshotDigest(*digest)) == key) snapshots.emplace_back(*digest);
  });
  return snapshots;
}

Manifest Repository::manifest(const SnapshotDigest& snapshot) const {
  const std::string key = manifest_key(snapshot);
  const Bytes bytes = store_->get(key, limits::kJsonBytesMax);
  if (sha256(bytes) != snapshot) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: its bytes do not match its name", key),
                "restore the file from a copy of the repository");
  }
  return manifest_from_json(as_text(bytes), key);
}

std::optional<std::string> Repository::note(const SnapshotDigest& snapshot, std::string_view kind) const {
  const std::string key = note_key(snapshot, kind);
  try {
    const Bytes bytes = store_->get(key, limits::kJsonBytesMax);
    return std::string(check_sealed_json(as_text(bytes), key));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNotFound) return std::nullopt;
    throw;
  }
}

void Repository::put_note(const SnapshotDigest& snapshot, std::string_view kind,
                          std::string_view object_text) const {
  const std::string key = note_key(snapshot, kind);
  const std::string text = seal_json(object_text);
  for (int attempt = 0; attempt < kReferenceRaces; ++attempt) {
    const auto stat = store_->stat(key);
    const auto version = stat ? std::optional(stat->version) : std::nullopt;
    if (store_->replace_if_version(key, as_byte_view(text), version)) return;
  }
  throw Error(ErrorCode::kIo, fmt::format("{} keeps being replaced by others", key), "try again");
}

}  // namespace vmpack
