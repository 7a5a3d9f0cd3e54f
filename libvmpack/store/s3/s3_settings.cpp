// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/s3_settings.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/store/key.hpp"
#include "libvmpack/store/s3/aws_files.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kScheme = "s3://";
constexpr std::string_view kDefaultRegion = "us-east-1";
constexpr std::string_view kHowToWrite =
    "write it as s3://BUCKET/PREFIX, with ?style=path or ?style=virtual, endpoint=URL, region=NAME or "
    "profile=NAME";

struct Location {
  std::string bucket;
  std::string prefix;
  AwsValues options;
};

[[noreturn]] void refuse(std::string_view location, std::string_view why) {
  throw Error(ErrorCode::kInvalid, fmt::format("{} is no S3 location: {}", printable(location), why),
              std::string(kHowToWrite));
}

bool is_bucket_name(std::string_view name) {
  constexpr std::string_view kCharacters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return name.size() >= 3 && name.size() <= 255 &&
         name.find_first_not_of(kCharacters) == std::string_view::npos && !name.starts_with('.') &&
         !name.starts_with('-');
}

AwsValues parse_options(std::string_view location, std::string_view query) {
  constexpr std::array<std::string_view, 4> kKnown{"style", "endpoint", "region", "profile"};
  AwsValues options;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view option = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equals = option.find('=');
    const std::string_view name = option.substr(0, equals);
    if (std::ranges::find(kKnown, name) == kKnown.end() || equals == std::string_view::npos) {
      refuse(location, fmt::format("there is no option '{}'", printable(option)));
    }
    const auto value = unescape_url(option.substr(equals + 1));
    if (!value || value->empty()) refuse(location, fmt::format("the option {} has no value", name));
    options[std::string(name)] = *value;
  }
  return options;
}

Location parse_location(std::string_view location) {
  std::string_view rest = location.substr(kScheme.size());
  const std::size_t question = rest.find('?');
  Location parsed;
  if (question != std::string_view::npos) parsed.options = parse_options(location, rest.substr(question + 1));
  rest = rest.substr(0, question);
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  parsed.bucket = rest.substr(0, slash);
  if (!is_bucket_name(parsed.bucket)) refuse(location, "it names no bucket");
  std::string_view prefix = rest.substr(slash);
  while (prefix.starts_with('/')) prefix.remove_prefix(1);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (!prefix.empty() && !is_key(prefix)) refuse(location, "its prefix is none that a store can have");
  parsed.prefix = prefix;
  return parsed;
}

/// The files, and which of their sections is meant.
class Profile {
 public:
  Profile(const Environment& environment, std::optional<std::string> named)
      : config_path_(path_of(environment, "AWS_CONFIG_FILE", "config")),
        credentials_path_(path_of(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials")),
        config_(read(config_path_)),
        credentials_(read(credentials_path_)) {
    if (!named) named = environment("AWS_PROFILE");
    if (!named) named = environment("AWS_DEFAULT_PROFILE");
    name_ = named.value_or("default");
    if (named && config() == nullptr && credentials() == nullptr) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("there is no profile '{}' in {} or {}", printable(name_), config_path_,
                              credentials_path_),
                  "name another with AWS_PROFILE, or make it with 'aws configure'");
    }
  }

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const AwsValues* credentials() const { return find_section(credentials_, name_); }
  [[nodiscard]] const AwsValues* config() const {
    if (const AwsValues* section = find_section(config_, "profile " + name_)) return section;
    return name_ == "default" ? find_section(config_, name_) : nullptr;
  }
  /// The endpoint of the section "services NAME" that the profile names.
  [[nodiscard]] std::optional<std::string> service_endpoint() const {
    const auto services = find_value(config(), "services");
    if (!services) return std::nullopt;
    return find_value(find_section(config_, "services " + *services), "s3.endpoint_url");
  }

 private:
  static std::string path_of(const Environment& environment, const std::string& variable,
                             std::string_view name) {
    if (const auto path = environment(variable)) return *path;
    const auto home = environment("HOME");
    return home ? fmt::format("{}/.aws/{}", *home, name) : std::string();
  }
  static AwsSections read(const std::string& path) {
    return path.empty() ? AwsSections() : read_aws_file(path);
  }

  std::string config_path_;
  std::string credentials_path_;
  AwsSections config_;
  AwsSections credentials_;
  std::string name_;
};

S3Credentials credentials_of_section(const AwsValues& section, const std::string& secret) {
  return {find_value(&section, "aws_access_key_id").value_or(""), secret,
          find_value(&section, "aws_session_token").value_or("")};
}

S3Credentials read_credentials(const Environment& environment,
                               const std::optional<std::string>& profile_name) {
  const auto access_key = environment("AWS_ACCESS_KEY_ID");
  const auto secret_key = environment("AWS_SECRET_ACCESS_KEY");
  // A profile that the location names goes before the variables, as --profile does for AWS's tools.
  if (access_key && secret_key && !profile_name) {
    return {*access_key, *secret_key, environment("AWS_SESSION_TOKEN").value_or("")};
  }
  const Profile profile(environment, profile_name);
  for (const AwsValues* section : {profile.credentials(), profile.config()}) {
    const auto secret = find_value(section, "aws_secret_access_key");
    if (secret && find_value(section, "aws_access_key_id")) return credentials_of_section(*section, *secret);
  }
  throw Error(
      ErrorCode::kNotFound,
      fmt::format("there are no S3 credentials: AWS_ACCESS_KEY_ID and "
                  "AWS_SECRET_ACCESS_KEY are not set, and the profile '{}' has no keys",
                  printable(profile.name())),
      "set them; for single sign-on and roles: eval \"$(aws configure export-credentials --format env)\"");
}

// http or https, a host, perhaps a port and a path, and nothing else. Without a '/' at its end.
std::string checked_endpoint(std::string endpoint) {
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const std::size_t scheme = endpoint.find("://");
  const bool known = endpoint.starts_with("http://") || endpoint.starts_with("https://");
  const bool plain = std::ranges::all_of(endpoint, [](char c) { return c > ' ' && c < 0x7f; });
  if (!known || !plain || endpoint.size() == scheme + 3 || endpoint[scheme + 3] == '/' ||
      endpoint.find_first_of("?#@\\\"<>%") != std::string::npos) {
    throw Error(ErrorCode::kInvalid, fmt::format("'{}' is no S3 endpoint", printable(endpoint)),
                "write it as https://HOST or http://HOST:PORT, in AWS_ENDPOINT_URL for instance");
  }
  return endpoint;
}

std::string endpoint_of(const Location& location, const Environment& environment, const Profile& profile) {
  if (const auto chosen = find_value(&location.options, "endpoint")) return checked_endpoint(*chosen);
  const auto is_true = [](const std::optional<std::string>& value) {
    return value == "true" || value == "True";
  };
  if (is_true(environment("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) ||
      is_true(find_value(profile.config(), "ignore_configured_endpoint_urls"))) {
    return {};
  }
  for (const auto& chosen : {environment("AWS_ENDPOINT_URL_S3"), environment("AWS_ENDPOINT_URL"),
                             profile.service_endpoint(), find_value(profile.config(), "endpoint_url")}) {
    if (chosen) return checked_endpoint(*chosen);
  }
  return {};
}

std::string region_of(const Location& location, const Environment& environment, const Profile& profile) {
  for (const auto& chosen : {find_value(&location.options, "region"), environment("AWS_REGION"),
                             environment("AWS_DEFAULT_REGION"), find_value(profile.config(), "region")}) {
    if (!chosen) continue;
    if (is_region(*chosen)) return *chosen;
    throw Error(ErrorCode::kInvalid, fmt::format("'{}' is no region", printable(*chosen)),
                "set AWS_REGION to something like eu-central-1");
  }
  return std::string(kDefaultRegion);
}

bool is_virtual_host(const Location& location, const Profile& profile, const std::string& endpoint) {
  auto style = find_value(&location.options, "style");
  if (style && *style != "path" && *style != "virtual") {
    throw Error(ErrorCode::kInvalid, fmt::format("there is no style '{}' of S3 URLs", printable(*style)),
                "write style=path or style=virtual");
  }
  if (!style) style = find_value(profile.config(), "s3.addressing_style");
  if (style == "path") return false;
  if (style == "virtual") return true;
  // AWS's certificates hold for one part before its own name.
  return endpoint.empty() && location.bucket.find('.') == std::string::npos;
}

}  // namespace

bool is_region(std::string_view name) {
  constexpr std::string_view kCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  return !name.empty() && name.size() <= 64 && name.find_first_not_of(kCharacters) == std::string_view::npos;
}

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): nobody sets variables
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  };
}

S3Settings s3_settings(std::string_view location_text, const Environment& environment) {
  const Location location = parse_location(location_text);
  const auto profile_name = find_value(&location.options, "profile");
  const Profile profile(environment, profile_name);
  S3Settings settings;
  settings.bucket = location.bucket;
  settings.prefix = location.prefix;
  settings.endpoint = endpoint_of(location, environment, profile);
  settings.region = region_of(location, environment, profile);
  settings.virtual_host = is_virtual_host(location, profile, settings.endpoint);
  for (const auto& chosen : {environment("AWS_CA_BUNDLE"), find_value(profile.config(), "ca_bundle")}) {
    if (chosen && settings.http.ca_bundle.empty()) settings.http.ca_bundle = *chosen;
  }
  settings.credentials = [environment, profile_name] { return read_credentials(environment, profile_name); };
  return settings;
}

std::string s3_url(const S3Settings& settings, std::string_view region, std::string_view full_key) {
  std::string endpoint = settings.endpoint;
  if (endpoint.empty()) {
    endpoint = fmt::format("https://s3.{}.amazonaws.com{}", region, region.starts_with("cn-") ? ".cn" : "");
  }
  const std::string key = escape_url(full_key, "/");
  if (!settings.virtual_host) {
    return full_key.empty() ? fmt::format("{}/{}", endpoint, settings.bucket)
                            : fmt::format("{}/{}/{}", endpoint, settings.bucket, key);
  }
  endpoint.insert(endpoint.find("://") + 3, settings.bucket + ".");
  return fmt::format("{}/{}", endpoint, key);
}

}  // namespace vmpack
