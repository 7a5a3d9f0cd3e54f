// SPDX-License-Identifier: Apache-2.0
// From what a user names to the store it is.
#include "libvmpack/store/store.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/store/file_below.hpp"
#include "libvmpack/store/rados/rados_store.hpp"
#include "libvmpack/store/s3/s3_settings.hpp"
#include "libvmpack/store/s3/s3_store.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kFileScheme = "file://";
constexpr std::string_view kS3Scheme = "s3://";

// The scheme of a URL with its "://", or empty for a path.
std::string_view scheme_of(std::string_view location) {
  const std::size_t end = location.find("://");
  if (end == 0 || end == std::string_view::npos) return {};
  const auto is_part = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+'; };
  return std::ranges::all_of(location.substr(0, end), is_part) ? location.substr(0, end + 3)
                                                               : std::string_view();
}

// The path in a file URL (RFC 8089, with an empty host or "localhost").
std::string path_of_url(std::string_view url) {
  const Error wrong(ErrorCode::kInvalid, fmt::format("{} is not a file URL", printable(url)),
                    "write it as file:///absolute/path");
  std::string_view rest = url.substr(kFileScheme.size());
  if (rest.starts_with("localhost/")) rest.remove_prefix(std::string_view("localhost").size());
  if (!rest.starts_with('/')) throw wrong;
  auto path = unescape_url(rest);
  if (!path || path->find('\0') != std::string::npos) throw wrong;
  return std::move(*path);
}

// Makes a folder and its parents, each durable.
void make_folders(const std::filesystem::path& path) {
  if (path.empty() || std::filesystem::is_directory(path)) return;
  const auto parent = std::filesystem::absolute(path).lexically_normal().parent_path();
  make_folders(parent);
  std::error_code failed;
  std::filesystem::create_directory(path, failed);
  if (failed) throw system_error(failed.value(), "cannot make the folder", path.string());
  sync_folder(FileDescriptor::open(parent.string(), O_RDONLY | O_DIRECTORY).get(), parent.string());
}

}  // namespace

std::unique_ptr<Store> open_store(const std::string& location, bool create) {
  if (location.empty()) {
    throw Error(ErrorCode::kInvalid, "no repository is named", "give --repo PATH, or set VMPACK_REPO");
  }
  const std::string_view scheme = scheme_of(location);
  if (scheme == kS3Scheme) return open_s3_store(s3_settings(location, process_environment()));
  if (scheme == kRadosScheme) {
    return open_rados_store(parse_rados_location(location, process_environment()("CEPH_ARGS").value_or("")));
  }
  if (!scheme.empty() && scheme != kFileScheme) {
    throw Error(ErrorCode::kInvalid,
                fmt::format("{}: there is no kind of store called {}", printable(location), scheme),
                "name a path, or a URL with file://, s3:// or rados://");
  }
  std::string path = scheme.empty() ? location : path_of_url(location);
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_directory(status)) {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is not a folder", printable(path)));
  }
  if (create) make_folders(path);
  return open_directory_store(path);
}

}  // namespace vmpack
