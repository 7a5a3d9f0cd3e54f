// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/partition/classify.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace vmpack {
namespace {

constexpr auto kCompressed = std::to_array<std::string_view>(
    {"7z",  "apk",  "avif", "bz2",  "crate", "deb",   "docx", "dsc",      "ear",  "flac", "gif",   "gz",
     "gem", "iso",  "jar",  "jpeg", "jpg",   "lz",    "lz4",  "lzma",     "m4a",  "mkv",  "mo.gz", "mp3",
     "mp4", "odt",  "ogg",  "pdf",  "png",   "rpm",   "snap", "squashfs", "svgz", "tbz",  "tgz",   "txz",
     "war", "webm", "webp", "whl",  "woff",  "woff2", "xlsx", "xz",       "zip",  "zst"});
constexpr auto kText = std::to_array<std::string_view>(
    {"c",        "cc",     "cfg",      "cmake",   "conf",  "cpp",     "css", "csv",  "desktop",
     "el",       "go",     "h",        "hpp",     "htm",   "html",    "ini", "java", "js",
     "json",     "log",    "lua",      "m4",      "md",    "pl",      "pm",  "po",   "pod",
     "py",       "rb",     "rs",       "rst",     "rules", "service", "sh",  "sql",  "svg",
     "tex",      "toml",   "ts",       "txt",     "xml",   "yaml",    "yml", "list", "md5sums",
     "triggers", "shlibs", "postinst", "preinst", "prerm", "postrm"});
/// And disk images: what is overwritten in place.
constexpr auto kDatabase =
    std::to_array<std::string_view>({"db", "db3", "frm", "ibd", "img", "ldb", "mdb", "myd", "myi", "qcow2",
                                     "raw", "sqlite", "sqlite3", "vdi", "vhd", "vhdx", "vmdk", "wal"});
constexpr auto kDatabaseFolders =
    std::to_array<std::string_view>({"/var/lib/mysql/", "/var/lib/postgresql/", "/var/lib/redis/"});
constexpr auto kExecutable =
    std::to_array<std::string_view>({"a", "bin", "dll", "elf", "exe", "ko", "o", "pyc", "so", "sys"});
constexpr auto kTextFolders = std::to_array<std::string_view>({"/etc/", "/usr/include/", "/usr/share/doc/"});

template <std::size_t N>
bool any_of(const std::array<std::string_view, N>& list, std::string_view item) {
  return std::ranges::find(list, item) != list.end();
}

template <std::size_t N>
bool in_folder(const std::array<std::string_view, N>& folders, std::string_view path) {
  return std::ranges::any_of(folders, [path](std::string_view folder) { return path.starts_with(folder); });
}

}  // namespace

std::string_view file_extension(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const auto dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? std::string_view{} : name.substr(dot + 1);
}

ObjectClass classify_file(const FileEntry& file) {
  const std::string_view path = file.path;
  std::string extension(file_extension(path));
  // NOTEPAD.EXE is one too.
  std::ranges::transform(extension, extension.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (path.starts_with("/boot/")) return ObjectClass::kBoot;
  if (in_folder(kDatabaseFolders, path) || any_of(kDatabase, extension)) return ObjectClass::kDatabase;
  if (any_of(kCompressed, extension)) return ObjectClass::kCompressed;
  if (any_of(kText, extension)) return ObjectClass::kText;
  if (any_of(kExecutable, extension) || path.find(".so.") != std::string_view::npos)
    return ObjectClass::kExecutable;
  if (in_folder(kTextFolders, path)) return ObjectClass::kText;
  if ((file.mode & 0111U) != 0) return ObjectClass::kExecutable;
  return ObjectClass::kData;
}

}  // namespace vmpack
