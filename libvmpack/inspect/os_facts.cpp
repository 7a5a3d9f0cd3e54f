// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/os_facts.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

using Json = nlohmann::ordered_json;

/// Names of fields, once for both directions.
template <typename System, typename Visit>
void visit_fields(System& system, Visit&& visit) {
  visit("root", system.root);
  visit("type", system.type);
  visit("distribution", system.distribution);
  visit("product_name", system.product_name);
  visit("version", system.version);
  visit("architecture", system.architecture);
  visit("hostname", system.hostname);
  visit("package_format", system.package_format);
}

Json package_json(const Package& package) {
  return {{"name", package.name}, {"version", package.version}, {"architecture", package.architecture}};
}

Json system_json(const OperatingSystem& system) {
  Json json = Json::object();
  visit_fields(system, [&json](const char* name, const std::string& value) { json[name] = value; });
  json["packages"] = Json::array();
  for (const Package& package : system.packages) json["packages"].push_back(package_json(package));
  return json;
}

OperatingSystem system_from(const Json& json) {
  OperatingSystem system;
  visit_fields(system,
               [&json](const char* name, std::string& value) { value = json.at(name).get<std::string>(); });
  for (const Json& package : json.at("packages")) {
    system.packages.push_back({package.at("name").get<std::string>(),
                               package.at("version").get<std::string>(),
                               package.at("architecture").get<std::string>()});
  }
  return system;
}

}  // namespace

std::string to_json(const OsFacts& facts) {
  Json systems = Json::array();
  for (const OperatingSystem& system : facts.systems) systems.push_back(system_json(system));
  // Names come from the image and need not be UTF-8; JSON must be.
  return Json({{"systems", std::move(systems)}}).dump(2, ' ', false, Json::error_handler_t::replace);
}

OsFacts os_facts_from_json(const std::string& text, const std::string& where) {
  try {
    OsFacts facts;
    const Json json = Json::parse(text);
    for (const Json& system : json.at("systems")) facts.systems.push_back(system_from(system));
    return facts;
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} holds no OS facts: {}", where, error.what()));
  }
}

}  // namespace vmpack
