// SPDX-License-Identifier: Apache-2.0
// Which packages of two images are not the same, as their package managers know them. Without I/O.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/inspect/os_facts.hpp"

namespace vmpack {

enum class PackageFate : std::uint8_t {
  kSame,
  kInstalled,
  kRemoved,
  kUpgraded,
  kDowngraded,
  kReplaced,  ///< by one of the same version for another architecture
};

/// One package of two images.
struct PackagePair {
  std::string name;
  std::optional<Package> before;
  std::optional<Package> after;

  [[nodiscard]] PackageFate fate() const;
};

/// An operating system of two images, and all packages of either.
struct SystemPair {
  const OperatingSystem* before = nullptr;  ///< null where only the later image has it
  const OperatingSystem* after = nullptr;
  std::vector<PackagePair> packages;  ///< sorted by name
};

/// Systems belong together that were found on the same device, or else are the only ones left; packages that
/// have the same name: of several those with the same version and architecture, then the only ones of an
/// architecture, then the only ones left. The result points into both.
[[nodiscard]] std::vector<SystemPair> pair_packages(const OsFacts& before, const OsFacts& after);

/// Compares versions as dpkg does (Debian Policy, 5.6.12), which is as good for what else packages are
/// called.
[[nodiscard]] std::strong_ordering compare_versions(std::string_view a, std::string_view b);

}  // namespace vmpack
