// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/package_diff.hpp"

#include <algorithm>
#include <map>

namespace vmpack {
namespace {

bool is_digit(char character) { return character >= '0' && character <= '9'; }

/// '~' comes before the end, letters before everything else.
int rank(std::string_view text) {
  if (text.empty() || is_digit(text.front())) return 0;
  const char character = text.front();
  if (character == '~') return -1;
  const bool letter = (character >= 'A' && character <= 'Z') || (character >= 'a' && character <= 'z');
  return static_cast<unsigned char>(character) + (letter ? 0 : 256);
}

/// The digits that `text` begins with, without leading zeros, are taken from it.
std::string_view take_number(std::string_view& text) {
  const auto significant = std::min(text.find_first_not_of('0'), text.size());
  text.remove_prefix(significant);
  const auto end = std::ranges::find_if_not(text, is_digit);
  const std::string_view number = text.substr(0, end - text.begin());
  text.remove_prefix(number.size());
  return number;
}

std::strong_ordering compare_parts(std::string_view a, std::string_view b) {
  while (!a.empty() || !b.empty()) {
    while ((!a.empty() && !is_digit(a.front())) || (!b.empty() && !is_digit(b.front()))) {
      if (const auto order = rank(a) <=> rank(b); order != 0) return order;
      a.remove_prefix(1);
      b.remove_prefix(1);
    }
    const std::string_view number_a = take_number(a);
    const std::string_view number_b = take_number(b);
    if (const auto order = number_a.size() <=> number_b.size(); order != 0) return order;
    if (const auto order = number_a <=> number_b; order != 0) return order;
  }
  return std::strong_ordering::equal;
}

struct Version {
  std::string_view epoch = "0";
  std::string_view upstream;
  std::string_view revision;

  explicit Version(std::string_view text) {
    if (const auto colon = text.find(':'); colon != std::string_view::npos) {
      epoch = text.substr(0, colon);
      text.remove_prefix(colon + 1);
    }
    const auto dash = text.rfind('-');
    upstream = text.substr(0, dash);
    if (dash != std::string_view::npos) revision = text.substr(dash + 1);
  }
};

/// Packages of one name.
struct Namesakes {
  std::vector<const Package*> before;
  std::vector<const Package*> after;
};

/// Pairs what fits, and takes it out of `left`.
template <typename Fits>
void pair_up(Namesakes& left, std::vector<PackagePair>& pairs, Fits fits) {
  std::erase_if(left.before, [&](const Package* before) {
    const auto found =
        std::ranges::find_if(left.after, [&](const Package* after) { return fits(*before, *after); });
    if (found == left.after.end()) return false;
    pairs.push_back({before->name, *before, **found});
    left.after.erase(found);
    return true;
  });
}

/// Whether there is just one of that architecture.
bool is_alone(const std::vector<const Package*>& packages, const std::string& architecture) {
  return std::ranges::count(packages, architecture, &Package::architecture) == 1;
}

void pair_namesakes(Namesakes left, std::vector<PackagePair>& pairs) {
  pair_up(left, pairs, [](const Package& a, const Package& b) {
    return a.version == b.version && a.architecture == b.architecture;
  });
  // Of several versions side by side, as kernels may be, nobody knows which one replaced which.
  const Namesakes others = left;
  pair_up(left, pairs, [&others](const Package& a, const Package& b) {
    return a.architecture == b.architecture && is_alone(others.before, a.architecture) &&
           is_alone(others.after, a.architecture);
  });
  if (left.before.size() == 1 && left.after.size() == 1)
    pair_up(left, pairs, [](const Package&, const Package&) { return true; });
  for (const Package* package : left.before) pairs.push_back({package->name, *package, std::nullopt});
  for (const Package* package : left.after) pairs.push_back({package->name, std::nullopt, *package});
}

std::vector<PackagePair> pair_packages_of(const OperatingSystem* before, const OperatingSystem* after) {
  std::map<std::string_view, Namesakes> by_name;
  if (before != nullptr) {
    for (const Package& package : before->packages) by_name[package.name].before.push_back(&package);
  }
  if (after != nullptr) {
    for (const Package& package : after->packages) by_name[package.name].after.push_back(&package);
  }
  std::vector<PackagePair> pairs;
  for (auto& [name, namesakes] : by_name) pair_namesakes(std::move(namesakes), pairs);
  return pairs;
}

}  // namespace

PackageFate PackagePair::fate() const {
  if (!before) return PackageFate::kInstalled;
  if (!after) return PackageFate::kRemoved;
  if (before->version == after->version) {
    return before->architecture == after->architecture ? PackageFate::kSame : PackageFate::kReplaced;
  }
  return compare_versions(before->version, after->version) > 0 ? PackageFate::kDowngraded
                                                               : PackageFate::kUpgraded;
}

std::strong_ordering compare_versions(std::string_view a, std::string_view b) {
  const Version version_a(a);
  const Version version_b(b);
  if (const auto order = compare_parts(version_a.epoch, version_b.epoch); order != 0) return order;
  if (const auto order = compare_parts(version_a.upstream, version_b.upstream); order != 0) return order;
  return compare_parts(version_a.revision, version_b.revision);
}

std::vector<SystemPair> pair_packages(const OsFacts& before, const OsFacts& after) {
  std::vector<const OperatingSystem*> left;
  for (const OperatingSystem& system : before.systems) left.push_back(&system);
  std::vector<SystemPair> pairs;
  for (const OperatingSystem& system : after.systems) {
    const auto found = std::ranges::find(left, system.root, &OperatingSystem::root);
    pairs.push_back({found == left.end() ? nullptr : *found, &system, {}});
    if (found != left.end()) left.erase(found);
  }
  const auto alone = [](const SystemPair& pair) { return pair.before == nullptr; };
  if (left.size() == 1 && std::ranges::count_if(pairs, alone) == 1) {
    std::ranges::find_if(pairs, alone)->before = left.front();
    left.clear();
  }
  for (const OperatingSystem* system : left) pairs.push_back({system, nullptr, {}});
  for (SystemPair& pair : pairs) pair.packages = pair_packages_of(pair.before, pair.after);
  return pairs;
}

}  // namespace vmpack
