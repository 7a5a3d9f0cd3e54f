// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/recorded_base.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/json.hpp"

namespace vmpack {
namespace {

int hex_digit(char c) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto lower = static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
  const auto found = kDigits.find(lower);
  return found == std::string_view::npos ? -1 : static_cast<int>(found);
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped =
        text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    if (!escaped) {
      decoded += text[i];
      continue;
    }
    decoded += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
    i += 2;
  }
  return decoded;
}

/// Of "nbd://host/export?…" and its like.
std::optional<std::string> export_of_uri(std::string_view uri) {
  constexpr std::array<std::string_view, 4> kSchemes{"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"};
  const auto scheme =
      std::ranges::find_if(kSchemes, [&](std::string_view each) { return uri.starts_with(each); });
  if (scheme == kSchemes.end()) return std::nullopt;
  uri.remove_prefix(scheme->size());
  uri = uri.substr(0, uri.find('?'));
  const auto slash = uri.find('/');
  return slash == std::string_view::npos ? std::string() : percent_decoded(uri.substr(slash + 1));
}

/// Of "nbd:host:port:exportname=export" and "nbd:unix:path:exportname=export".
std::optional<std::string> export_of_old_address(std::string_view address) {
  constexpr std::string_view kExport = ":exportname=";
  if (!address.starts_with("nbd:")) return std::nullopt;
  const auto found = address.find(kExport);
  return found == std::string_view::npos ? std::string()
                                         : std::string(address.substr(found + kExport.size()));
}

/// Of block-device options, however nested. They are as short as a qcow2 header's field.
std::optional<std::string> export_of_options(const OrderedJson& options) {
  if (!options.is_object()) return std::nullopt;
  for (const auto& [key, value] : options.items()) {
    if (value.is_string() && (key == "export" || key.ends_with(".export"))) return value.get<std::string>();
    if (value.is_string() && (key == "filename" || key.ends_with(".filename")))
      return reference_in_backing_name(value.get<std::string>());
    if (auto found = export_of_options(value)) return found;
  }
  return std::nullopt;
}

std::optional<std::string> reference_of_path(std::string_view path) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  for (const std::string_view extension : {".raw", ".img"}) {
    if (name.ends_with(extension)) name.remove_suffix(extension.size());
  }
  if (name.find('@') == std::string_view::npos) return std::nullopt;
  return std::string(name);
}

std::optional<std::variant<ReferenceName, DigestReference>> parsed(std::string_view text) {
  try {
    return parse_reference(text);
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

std::optional<std::string> reference_in_backing_name(std::string_view backing) {
  constexpr std::string_view kJson = "json:";
  if (backing.starts_with(kJson)) {
    return export_of_options(OrderedJson::parse(backing.substr(kJson.size()), nullptr, false));
  }
  if (auto found = export_of_uri(backing)) return found;
  if (auto found = export_of_old_address(backing)) return found;
  return reference_of_path(backing);
}

RecordedBase check_recorded_base(const Repository& repository, const SnapshotDigest& base,
                                 std::string_view backing, bool may_have_moved) {
  const auto text = reference_in_backing_name(backing);
  const auto reference = text ? parsed(*text) : std::nullopt;
  if (!reference) return RecordedBase::kUnknown;
  if (const auto* by_digest = std::get_if<DigestReference>(&*reference)) {
    if (base.hex().starts_with(by_digest->digest_prefix)) return RecordedBase::kMatches;
    throw Error(ErrorCode::kRefused,
                fmt::format("the overlay lies on {}, and not on {}", printable(*text), base.hex()),
                fmt::format("name its base: vmpack snapshot {} …", printable(*text)));
  }
  const auto& name = std::get<ReferenceName>(*reference);
  const auto entry = repository.find(name);
  if (entry && entry->snapshot == base) return RecordedBase::kMatches;
  // Any server may have an export of that name; one with a tag is one of ours.
  if (!entry && text->find(':') == std::string::npos) return RecordedBase::kUnknown;
  if (may_have_moved) return RecordedBase::kUnknown;
  throw Error(ErrorCode::kRefused,
              fmt::format("the overlay lies on {}, which {}", name.text(),
                          entry ? fmt::format("is {} now, and not {}", entry->snapshot.hex(), base.hex())
                                : "is not there any more"),
              "if that tag was moved after the machine had started: --base-moved");
}

}  // namespace vmpack
