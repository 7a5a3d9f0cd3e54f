// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/manifest.hpp"

#include <fmt/core.h>

#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kFormatName = "vmpack-snapshot";

OrderedJson to_json_value(const VolumeSummary& volume) {
  OrderedJson json = {
      {"offset", volume.offset},       {"bytes", volume.bytes},           {"number", volume.number},
      {"type", volume.type},           {"label", volume.label},           {"uuid", volume.uuid},
      {"inspected", volume.inspected}, {"file_count", volume.file_count}, {"free_bytes", volume.free_bytes}};
  if (!volume.name.empty()) json["name"] = volume.name;
  return json;
}

VolumeSummary volume_from(const OrderedJson& json) {
  VolumeSummary volume;
  volume.offset = json.at("offset").get<std::uint64_t>();
  volume.bytes = json.at("bytes").get<std::uint64_t>();
  volume.number = json.at("number").get<std::uint32_t>();
  volume.type = json.at("type").get<std::string>();
  volume.label = json.at("label").get<std::string>();
  volume.uuid = json.at("uuid").get<std::string>();
  volume.inspected = json.at("inspected").get<bool>();
  volume.file_count = json.at("file_count").get<std::uint64_t>();
  volume.free_bytes = json.at("free_bytes").get<std::uint64_t>();
  volume.name = json.value("name", std::string());
  return volume;
}

Manifest manifest_from(const OrderedJson& json, std::string_view where) {
  Manifest manifest;
  const OrderedJson& image = json.at("image");
  manifest.image_bytes = image.at("bytes").get<std::uint64_t>();
  manifest.data_bytes = image.at("data_bytes").get<std::uint64_t>();
  manifest.source_format = image.at("source_format").get<std::string>();
  const OrderedJson& layout = json.at("layout");
  manifest.table = layout.at("table").get<std::string>();
  for (const OrderedJson& volume : layout.at("volumes")) manifest.volumes.push_back(volume_from(volume));
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    const auto found = json.at("classes").find(std::string(to_string(static_cast<ObjectClass>(i))));
    if (found == json.at("classes").end()) continue;
    manifest.classes[i] = {found->at("objects").get<std::uint64_t>(),
                           found->at("bytes").get<std::uint64_t>()};
  }
  if (const auto found = json.find("discarded"); found != json.end()) {
    manifest.discarded = {found->at("free").get<std::uint64_t>(), found->at("swap").get<std::uint64_t>()};
  }
  manifest.map = MapDigest(digest_from_json(json.at("map"), where));
  if (json.contains("files")) manifest.files = FileTableDigest(digest_from_json(json.at("files"), where));
  if (json.contains("parent")) manifest.parent = SnapshotDigest(digest_from_json(json.at("parent"), where));
  if (const auto found = json.find("changed"); found != json.end()) {
    manifest.changed = {found->at("data").get<std::uint64_t>(), found->at("zeroed").get<std::uint64_t>()};
  }
  manifest.labels = json.at("labels").get<std::map<std::string, std::string>>();
  return manifest;
}

}  // namespace

std::string manifest_key(const SnapshotDigest& snapshot) {
  return fmt::format("snapshots/{}.json", snapshot.hex());
}

std::string to_json(const Manifest& manifest) {
  OrderedJson json = {{"format", kFormatName},
                      {"version", kFormatVersion},
                      {"required_features", OrderedJson::array()},
                      {"image",
                       {{"bytes", manifest.image_bytes},
                        {"data_bytes", manifest.data_bytes},
                        {"source_format", manifest.source_format}}}};
  OrderedJson volumes = OrderedJson::array();
  for (const VolumeSummary& volume : manifest.volumes) volumes.push_back(to_json_value(volume));
  json["layout"] = {{"table", manifest.table}, {"volumes", std::move(volumes)}};
  OrderedJson classes = OrderedJson::object();
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    if (manifest.classes[i].objects == 0) continue;
    classes[std::string(to_string(static_cast<ObjectClass>(i)))] = {{"objects", manifest.classes[i].objects},
                                                                    {"bytes", manifest.classes[i].bytes}};
  }
  json["classes"] = std::move(classes);
  if (manifest.discarded) {
    json["discarded"] = {{"free", manifest.discarded->free}, {"swap", manifest.discarded->swap}};
  }
  json["map"] = manifest.map.hex();
  if (manifest.files) json["files"] = manifest.files->hex();
  if (manifest.parent) json["parent"] = manifest.parent->hex();
  if (manifest.changed) {
    json["changed"] = {{"data", manifest.changed->data}, {"zeroed", manifest.changed->zeroed}};
  }
  json["labels"] = OrderedJson::object();
  for (const auto& [key, value] : manifest.labels) json["labels"][key] = value;
  return dump_json(json) + "\n";
}

Manifest manifest_from_json(std::string_view text, std::string_view where) {
  return read_json(text, where, [&](const OrderedJson& json) {
    check_json_format(json, kFormatName, {}, where);
    return manifest_from(json, where);
  });
}

}  // namespace vmpack
