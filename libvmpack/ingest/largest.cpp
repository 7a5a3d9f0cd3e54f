// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/largest.hpp"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

namespace vmpack {
namespace {

struct Sized {
  std::string_view path;
  std::uint64_t bytes;
};

std::vector<SizedPath> take_largest(std::vector<Sized> all, std::size_t count) {
  count = std::min(count, all.size());
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(count);
  std::ranges::partial_sort(all, end, [](const Sized& a, const Sized& b) {
    return std::tie(b.bytes, a.path) < std::tie(a.bytes, b.path);
  });
  std::vector<SizedPath> largest;
  for (const Sized& sized : std::span(all).first(count)) {
    largest.push_back({std::string(sized.path), sized.bytes});
  }
  return largest;
}

}  // namespace

std::vector<SizedPath> largest_files(const Volume& volume, std::span<const FileSurvey> files,
                                     FileMeasure measure, std::size_t count) {
  std::vector<Sized> sized;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (files[i].*measure > 0) sized.push_back({volume.files[i].path, files[i].*measure});
  }
  return take_largest(std::move(sized), count);
}

std::vector<SizedPath> largest_folders(const Volume& volume, std::span<const FileSurvey> files,
                                       FileMeasure measure, std::size_t count) {
  std::unordered_map<std::string_view, std::uint64_t> folders;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (files[i].*measure == 0) continue;
    const std::string_view path = volume.files[i].path;
    for (auto slash = path.rfind('/'); slash != 0 && slash != std::string_view::npos;
         slash = path.rfind('/', slash - 1)) {
      folders[path.substr(0, slash)] += files[i].*measure;
    }
  }
  std::unordered_set<std::string_view> outer;
  for (const auto& [path, bytes] : folders) {
    const auto parent = folders.find(path.substr(0, path.rfind('/')));
    if (parent != folders.end() && parent->second == bytes) outer.insert(parent->first);
  }
  std::vector<Sized> sized;
  sized.reserve(folders.size());
  for (const auto& [path, bytes] : folders) {
    if (!outer.contains(path)) sized.push_back({path, bytes});
  }
  return take_largest(std::move(sized), count);
}

}  // namespace vmpack
