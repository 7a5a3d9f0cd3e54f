// SPDX-License-Identifier: Apache-2.0
// All that `vmpack inspect` found, before it is told as text, as JSON or as a page.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "libvmpack/ingest/largest.hpp"
#include "libvmpack/ingest/survey.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/inspect/os_facts.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack::cli {

/// As many files and folders of each volume are told by name.
inline constexpr std::size_t kLargestCount = 25;

struct LargestPaths {
  std::vector<SizedPath> folders;
  std::vector<SizedPath> files;
  std::vector<SizedPath> fresh_files;  ///< by what of them an ingest would add
};

struct ImageFacts {
  SourceFacts source;
  std::uint64_t image_bytes = 0;
  Layout layout;
  Survey survey;
  std::vector<LargestPaths> largest;  ///< of each of the layout's volumes
  OsFacts os;
  std::string repository;  ///< that the image was compared with; empty when with none
};

}  // namespace vmpack::cli
