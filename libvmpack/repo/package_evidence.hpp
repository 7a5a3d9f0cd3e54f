// SPDX-License-Identifier: Apache-2.0
// Which packages changed between two builds, and which files they brought, as far as notes and file tables
// tell.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vmpack {

/// A package with its version in each of two builds; empty where it is not in one, or not known.
struct PackageVersions {
  std::string name;
  std::string before;
  std::string after;
};

/// Packages that were built together, from one source, by one name.
struct PackageGroup {
  PackageVersions versions;             ///< of the one with the shortest name
  std::vector<std::string> built_with;  ///< the others, by name
};

/// Collects evidence of both builds; then, settled, it can be asked.
class PackageEvidence {
 public:
  /// What the operating systems' package managers said, of each package of either build.
  void add_versions(const std::vector<PackageVersions>& versions);
  /// A file of the later build: dpkg's own records tell which packages were replaced, and the changelog of a
  /// package has the time that all files of this package have which were made when it was built.
  void add_file(std::string_view path, std::int64_t modified_ns, bool in_both, bool same_content);
  /// After the last add.
  void settle();

  /// Whether all packages are known to have the same version in both builds.
  [[nodiscard]] bool packages_stay() const { return informed_ && changed_.empty(); }
  /// The name of the group that brought a file into the later build, of groups(); empty where that is not
  /// known.
  [[nodiscard]] std::string package_of(std::string_view path, std::int64_t modified_ns) const;
  /// Packages that changed or were added, by the names of their groups.
  [[nodiscard]] const std::map<std::string, PackageGroup>& groups() const { return groups_; }

 private:
  bool informed_ = false;
  std::map<std::string, PackageVersions> changed_;  // or added
  std::map<std::string, std::int64_t> built_ns_;    // as the newest changelog tells, of the later build
  std::map<std::string, std::string> group_of_;     // each of changed_
  std::map<std::int64_t, std::string> group_at_;    // by when it was built
  std::map<std::string, PackageGroup> groups_;
};

}  // namespace vmpack
