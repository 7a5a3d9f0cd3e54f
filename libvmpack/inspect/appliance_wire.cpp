// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/appliance_wire.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "libvmpack/base/error.hpp"

namespace vmpack::appliance_wire {
namespace {

using Json = nlohmann::ordered_json;

// Names of fields, once for both directions.
template <typename Volume, typename Visit>
  requires std::is_same_v<std::remove_const_t<Volume>, LogicalVolume>
void visit_fields(Volume& volume, Visit&& visit) {
  visit("name", volume.name);
  visit("type", volume.type);
  visit("problem", volume.problem);
}
template <typename Volume, typename Visit>
  requires std::is_same_v<std::remove_const_t<Volume>, PhysicalVolume>
void visit_fields(Volume& volume, Visit&& visit) {
  visit("number", volume.number);
  visit("data_offset", volume.data_offset);
  visit("data_bytes", volume.data_bytes);
  visit("used_bytes", volume.used_bytes);
}

template <typename Volume>
Json array_of(const std::vector<Volume>& volumes) {
  Json array = Json::array();
  for (const Volume& volume : volumes) {
    Json& json = array.emplace_back(Json::object());
    visit_fields(volume, [&json](const char* name, const auto& value) { json[name] = value; });
  }
  return array;
}

template <typename Volume>
std::vector<Volume> volumes_from(const Json& array) {
  std::vector<Volume> volumes;
  for (const Json& json : array) {
    visit_fields(volumes.emplace_back(),
                 [&json](const char* name, auto& value) { json.at(name).get_to(value); });
  }
  return volumes;
}

}  // namespace

std::string to_json(const VolumesReport& report) {
  // Names come from the image and need not be UTF-8; JSON must be.
  return Json({{"failure", report.failure},
               {"logical_volumes", array_of(report.logical_volumes)},
               {"physical_volumes", array_of(report.physical_volumes)}})
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

VolumesReport volumes_report_from_json(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    return {json.at("failure").get<std::string>(), volumes_from<LogicalVolume>(json.at("logical_volumes")),
            volumes_from<PhysicalVolume>(json.at("physical_volumes"))};
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::kDamaged, fmt::format("the appliance's helper says nonsense: {}", error.what()));
  }
}

}  // namespace vmpack::appliance_wire
