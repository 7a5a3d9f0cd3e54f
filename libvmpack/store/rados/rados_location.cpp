// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/rados/rados_location.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/store/key.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kNamespaceBytesMax = 256;  // of Ceph: osd_max_object_namespace_len
constexpr int kTimeoutSecondsMax = 24 * 3600;

[[noreturn]] void refuse(std::string_view url, std::string_view why) {
  throw Error(
      ErrorCode::kInvalid, fmt::format("{}: {}", printable(url), why),
      "write it as rados://POOL/PREFIX, and options as ?id=NAME&conf=PATH&keyring=PATH&timeout=SECONDS");
}

// Ceph knows users by type and name; people leave the type out.
std::string user_of(std::string_view id) {
  return id.starts_with("client.") ? std::string(id) : fmt::format("client.{}", id);
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

// The last one counts, as in Ceph's own programs.
std::string user_of_arguments(std::string_view ceph_args) {
  std::string user;
  const std::vector<std::string> words = words_of(ceph_args);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    const std::string option = words[i].substr(0, equals);
    if (option != "--id" && option != "--user" && option != "--name" && option != "-n") continue;
    if (equals != std::string::npos) {
      user = user_of(words[i].substr(equals + 1));
    } else if (i + 1 < words.size()) {
      user = user_of(words[i + 1]);
    }
  }
  return user;
}

void set_option(RadosLocation& location, std::string_view name, const std::string& value,
                std::string_view url) {
  if (value.empty()) refuse(url, fmt::format("the option {} has no value", printable(name)));
  if (name == "id") {
    location.user = user_of(value);
  } else if (name == "conf") {
    location.conf = value;
  } else if (name == "keyring") {
    location.keyring = value;
  } else if (name == "timeout") {
    location.timeout_seconds = parse_number<int>(value);
    if (!location.timeout_seconds || *location.timeout_seconds < 1 ||
        *location.timeout_seconds > kTimeoutSecondsMax) {
      refuse(url, "the timeout is not a number of seconds");
    }
  } else {
    refuse(url, fmt::format("there is no option {}", printable(name)));
  }
}

}  // namespace

std::string RadosLocation::text() const { return fmt::format("{}{}/{}", kRadosScheme, pool, name_space); }

RadosLocation parse_rados_location(std::string_view url, std::string_view ceph_args) {
  std::string_view rest = url.substr(kRadosScheme.size());
  const std::size_t question = rest.find('?');
  std::string_view options =
      question == std::string_view::npos ? std::string_view() : rest.substr(question + 1);
  rest = rest.substr(0, question);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos) refuse(url, "it does not name a pool and a prefix");

  RadosLocation location;
  location.pool = rest.substr(0, slash);
  location.name_space = rest.substr(slash + 1);
  if (!is_key_part(location.pool)) refuse(url, "that is no name of a pool");
  if (!is_key(location.name_space) || location.name_space.size() > kNamespaceBytesMax) {
    refuse(url, "that is no prefix");
  }
  if (std::string user = user_of_arguments(ceph_args); !user.empty()) location.user = std::move(user);
  while (!options.empty()) {
    const std::string_view option = options.substr(0, options.find('&'));
    options.remove_prefix(std::min(option.size() + 1, options.size()));
    const std::size_t equals = std::min(option.find('='), option.size());
    const auto value = unescape_url(option.substr(std::min(equals + 1, option.size())));
    if (!value) refuse(url, "there is a malformed %XX in it");
    set_option(location, option.substr(0, equals), *value, url);
  }
  return location;
}

}  // namespace vmpack
