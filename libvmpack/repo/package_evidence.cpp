// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/package_evidence.hpp"

#include <algorithm>

namespace vmpack {
namespace {

constexpr std::string_view kDpkgInfo = "/var/lib/dpkg/info/";
constexpr std::string_view kDocumentation = "/usr/share/doc/";

/// The package that a file in dpkg's info folder is about, as in "libc6:amd64.list".
std::string_view package_of_info(std::string_view name, std::string_view end) {
  if (!name.ends_with(end)) return {};
  name.remove_suffix(end.size());
  return name.substr(0, name.find(':'));
}

std::string_view package_of_documentation(std::string_view path) {
  if (!path.starts_with(kDocumentation)) return {};
  path.remove_prefix(kDocumentation.size());
  const auto slash = path.find('/');
  return slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
}

}  // namespace

void PackageEvidence::add_versions(const std::vector<PackageVersions>& versions) {
  informed_ = informed_ || !versions.empty();
  for (const PackageVersions& package : versions) {
    if (package.before != package.after && !package.after.empty()) {
      changed_.insert_or_assign(package.name, package);
    }
  }
}

void PackageEvidence::add_file(std::string_view path, std::int64_t modified_ns, bool in_both,
                               bool same_content) {
  if (path.starts_with(kDpkgInfo)) {
    const std::string_view name = path.substr(kDpkgInfo.size());
    const std::string_view listed = package_of_info(name, ".list");
    const std::string_view package = listed.empty() ? package_of_info(name, ".md5sums") : listed;
    if (package.empty()) return;
    informed_ = true;
    if (!in_both || !same_content)
      changed_.try_emplace(std::string(package), PackageVersions{std::string(package), {}, {}});
    return;
  }
  const std::string_view package = package_of_documentation(path);
  if (package.empty() || !path.substr(path.rfind('/') + 1).starts_with("changelog")) return;
  std::int64_t& built = built_ns_.try_emplace(std::string(package), modified_ns).first->second;
  built = std::max(built, modified_ns);
}

void PackageEvidence::settle() {
  std::vector<std::string> names;
  for (const auto& [name, versions] : changed_) names.push_back(name);
  std::ranges::stable_sort(names, {}, &std::string::size);
  for (const std::string& name : names) {
    const auto built = built_ns_.find(name);
    const std::string& group =
        built == built_ns_.end() ? name : group_at_.try_emplace(built->second, name).first->second;
    group_of_[name] = group;
    if (group == name) {
      groups_[name].versions = changed_.at(name);
    } else {
      groups_[group].built_with.push_back(name);
    }
  }
  for (auto& [name, group] : groups_) std::ranges::sort(group.built_with);
}

std::string PackageEvidence::package_of(std::string_view path, std::int64_t modified_ns) const {
  const std::string_view documented = package_of_documentation(path);
  if (!documented.empty()) {
    const auto group = group_of_.find(std::string(documented));
    return group == group_of_.end() ? std::string{} : group->second;
  }
  const auto group = group_at_.find(modified_ns);
  return group == group_at_.end() ? std::string{} : group->second;
}

}  // namespace vmpack
