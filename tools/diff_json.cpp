// SPDX-License-Identifier: Apache-2.0
// vmpack diff --json: all that was found out.
#include "libvmpack/base/json.hpp"
#include "tools/diff_result.hpp"
#include "tools/guest_files.hpp"

namespace vmpack::cli {
namespace {

OrderedJson side_json(const std::string& name, const std::optional<SnapshotDigest>& snapshot) {
  OrderedJson json = {{"name", name}};
  if (snapshot) json["snapshot"] = snapshot->hex();
  return json;
}

OrderedJson blocks_json(const BlockResult& blocks) {
  OrderedJson ranges = OrderedJson::array();
  std::uint64_t bytes = 0;
  for (const ByteRange& range : blocks.ranges) {
    bytes += range.length;
    ranges.push_back({{"offset", range.offset}, {"length", range.length}});
  }
  return {{"image_bytes_before", blocks.old_image_bytes},
          {"image_bytes_after", blocks.new_image_bytes},
          {"bytes", bytes},
          {"ranges", std::move(ranges)}};
}

OrderedJson changes_json(const FileChanges& changes) {
  OrderedJson json = OrderedJson::array();
  if (changes.type) json.push_back("type");
  if (changes.content) json.push_back("content");
  if (changes.mode) json.push_back("mode");
  if (changes.owner) json.push_back("owner");
  return json;
}

OrderedJson difference_json(const FileDifference& difference, const VolumePairNames& volume) {
  OrderedJson json = {{"fate", to_string(difference.fate)},
                      {"volume", volume_id(volume.any())},
                      {"path", difference.entry().path}};
  if (difference.before && difference.after) {
    json["changes"] = changes_json(difference.changes);
    if (difference.changes.content) json["content_known"] = difference.changes.content_sure;
  }
  if (difference.before) json["before"] = to_json(*difference.before);
  if (difference.after) json["after"] = to_json(*difference.after);
  return json;
}

OrderedJson files_json(const FileResult& files) {
  const FileChangeCounts counts = files.counts();
  OrderedJson json = {{"added", counts.added}, {"removed", counts.removed},
                      {"moved", counts.moved}, {"content", counts.content},
                      {"type", counts.type},   {"mode", counts.mode},
                      {"owner", counts.owner}, {"only_time", files.diff.retimed}};
  json["unknown"] = files.unknown;
  json["differences"] = OrderedJson::array();
  for (const FileDifference& difference : files.diff.differences) {
    json["differences"].push_back(difference_json(difference, files.volumes[difference.pair]));
  }
  return json;
}

OrderedJson package_json(const PackagePair& pair) {
  OrderedJson json = {{"fate", to_string(pair.fate())},
                      {"name", pair.name},
                      {"architecture", (pair.after ? pair.after : pair.before)->architecture}};
  if (pair.before) json["before"] = pair.before->version;
  if (pair.after) json["after"] = pair.after->version;
  return json;
}

OrderedJson system_json(const OperatingSystem& system) {
  return {{"root", system.root},
          {"product_name", system.product_name},
          {"distribution", system.distribution},
          {"version", system.version},
          {"architecture", system.architecture},
          {"hostname", system.hostname}};
}

OrderedJson packages_json(const PackageResult& packages) {
  OrderedJson systems = OrderedJson::array();
  for (const SystemPair& system : packages.systems) {
    OrderedJson json = OrderedJson::object();
    if (system.before != nullptr) json["before"] = system_json(*system.before);
    if (system.after != nullptr) json["after"] = system_json(*system.after);
    json["packages"] = OrderedJson::array();
    for (const PackagePair& pair : system.packages) json["packages"].push_back(package_json(pair));
    systems.push_back(std::move(json));
  }
  return systems;
}

}  // namespace

void print_json(const DiffResult& result, std::ostream& out) {
  OrderedJson json = {{"before", side_json(result.before, result.old_snapshot)},
                      {"after", side_json(result.after, result.new_snapshot)},
                      {"differ", result.differ()}};
  if (result.blocks) json["blocks"] = blocks_json(*result.blocks);
  if (result.files) json["files"] = files_json(*result.files);
  if (!result.files_unknown.empty()) json["files_unknown"] = result.files_unknown;
  if (result.packages) json["systems"] = packages_json(*result.packages);
  if (!result.packages_unknown.empty()) json["packages_unknown"] = result.packages_unknown;
  out << dump_json(json) << '\n';
}

}  // namespace vmpack::cli
