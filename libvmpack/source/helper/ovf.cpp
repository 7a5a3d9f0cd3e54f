// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/helper/ovf.hpp"

#include <expat.h>
#include <fmt/core.h>

#include <map>
#include <memory>
#include <new>
#include <string_view>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr char kSeparator = '|';

/// What the elements <File> and <Disk> say; versions of the standard differ in namespaces only.
struct Seen {
  std::map<std::string, OvfDisk, std::less<>> files;  ///< by id
  struct Disk {
    std::string file_id;
    bool is_difference;
  };
  std::vector<Disk> disks;
};

std::string_view without_namespace(const char* name) {
  const std::string_view whole(name);
  return whole.substr(whole.rfind(kSeparator) + 1);
}

std::string attribute(const char** attributes, std::string_view name) {
  for (; attributes[0] != nullptr; attributes += 2) {
    if (without_namespace(attributes[0]) == name) return attributes[1];
  }
  return {};
}

void on_element(void* data, const char* name, const char** attributes) {
  auto& seen = *static_cast<Seen*>(data);
  const std::string_view element = without_namespace(name);
  if (element == "File") {
    seen.files[attribute(attributes, "id")] = {attribute(attributes, "href"),
                                               attribute(attributes, "compression")};
  } else if (element == "Disk") {
    const std::string file_id = attribute(attributes, "fileRef");
    if (!file_id.empty()) seen.disks.push_back({file_id, !attribute(attributes, "parentRef").empty()});
  }
}

}  // namespace

std::vector<OvfDisk> read_ovf(ByteView descriptor) {
  Seen seen;
  const std::unique_ptr<XML_ParserStruct, void (*)(XML_Parser)> parser(
      XML_ParserCreateNS(nullptr, kSeparator), XML_ParserFree);
  if (!parser) throw std::bad_alloc();
  XML_SetUserData(parser.get(), &seen);
  XML_SetStartElementHandler(parser.get(), on_element);
  if (XML_Parse(parser.get(), reinterpret_cast<const char*>(descriptor.data()),
                static_cast<int>(descriptor.size()), XML_TRUE) != XML_STATUS_OK) {
    throw Error(ErrorCode::kDamaged, fmt::format("its descriptor is damaged: {} in line {}",
                                                 XML_ErrorString(XML_GetErrorCode(parser.get())),
                                                 XML_GetCurrentLineNumber(parser.get())));
  }
  std::vector<OvfDisk> disks;
  for (const Seen::Disk& disk : seen.disks) {
    const auto file = seen.files.find(disk.file_id);
    if (file == seen.files.end()) continue;
    disks.push_back(file->second);
    disks.back().is_difference = disk.is_difference;
  }
  return disks;
}

}  // namespace vmpack
