// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/aws_files.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kFileBytesMax = kMiB;
constexpr std::string_view kSpaces = " \t";

// "[profile  ci]" to "profile ci".
std::string section_name(std::string_view line) {
  const std::string_view inside = trimmed(line.substr(1, line.find(']') - 1));
  const std::size_t space = inside.find_first_of(kSpaces);
  if (space == std::string_view::npos) return std::string(inside);
  return fmt::format("{} {}", inside.substr(0, space), trimmed(inside.substr(space)));
}

// A comment behind a value begins with a space, so that secrets may hold these characters.
std::string_view without_comment(std::string_view value) {
  for (const std::string_view mark : {" #", "\t#", " ;", "\t;"}) value = value.substr(0, value.find(mark));
  return trimmed(value);
}

}  // namespace

AwsSections parse_aws_file(std::string_view text) {
  AwsSections sections;
  AwsValues* section = nullptr;
  std::string outer;  // the name that indented lines belong to
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view line = trimmed(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      section = &sections[section_name(line)];
      outer.clear();
      continue;
    }
    const std::size_t equals = line.find('=');
    if (section == nullptr || equals == std::string_view::npos) continue;
    const std::string name(trimmed(line.substr(0, equals)));
    const std::string_view value = without_comment(line.substr(equals + 1));
    const bool indented = kSpaces.find(raw.front()) != std::string_view::npos;
    if (indented && !outer.empty()) {
      (*section)[fmt::format("{}.{}", outer, name)] = value;
    } else {
      (*section)[name] = value;
      outer = value.empty() ? name : std::string();
    }
  }
  return sections;
}

AwsSections read_aws_file(const std::string& path) {
  FileDescriptor file;
  try {
    file = FileDescriptor::open(path, O_RDONLY);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNotFound) return {};
    throw;
  }
  Bytes bytes(kFileBytesMax + 1);
  bytes.resize(read_at(file.get(), bytes, 0, path));
  if (bytes.size() > kFileBytesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("{} has more than {} bytes", path, kFileBytesMax));
  }
  return parse_aws_file(as_text(bytes));
}

const AwsValues* find_section(const AwsSections& sections, std::string_view name) {
  const auto found = sections.find(name);
  return found == sections.end() ? nullptr : &found->second;
}

std::optional<std::string> find_value(const AwsValues* section, std::string_view name) {
  if (section == nullptr) return std::nullopt;
  const auto found = section->find(name);
  if (found == section->end() || found->second.empty()) return std::nullopt;
  return found->second;
}

}  // namespace vmpack
