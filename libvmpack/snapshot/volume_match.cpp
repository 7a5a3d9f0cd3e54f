// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/volume_match.hpp"

#include <algorithm>

namespace vmpack {
namespace {

bool has_files(const VolumeSummary& volume) { return volume.file_count > 0; }

bool same_place(const VolumeSummary& a, const VolumeSummary& b) {
  return a.number == b.number && a.name == b.name;
}

class Matcher {
 public:
  Matcher(const std::vector<VolumeSummary>& before, const std::vector<VolumeSummary>& after)
      : before_(before), after_(after), taken_(before.size()), matches_(after.size()) {}

  /// Pairs what is left and fits, in order.
  template <typename Fits>
  void pair(Fits fits) {
    for (std::size_t i = 0; i < after_.size(); ++i) {
      for (std::size_t j = 0; j < before_.size() && !matches_[i]; ++j) {
        if (!taken_[j] && fits(before_[j], after_[i])) take(j, i);
      }
    }
  }

  void pair_last_ones_with_files() {
    std::vector<std::size_t> old_left;
    std::vector<std::size_t> new_left;
    for (std::size_t j = 0; j < before_.size(); ++j) {
      if (!taken_[j] && has_files(before_[j])) old_left.push_back(j);
    }
    for (std::size_t i = 0; i < after_.size(); ++i) {
      if (!matches_[i] && has_files(after_[i])) new_left.push_back(i);
    }
    if (old_left.size() == 1 && new_left.size() == 1) take(old_left[0], new_left[0]);
  }

  [[nodiscard]] std::vector<std::optional<std::size_t>> matches() && { return std::move(matches_); }

 private:
  void take(std::size_t before, std::size_t after) {
    taken_[before] = true;
    matches_[after] = before;
  }

  const std::vector<VolumeSummary>& before_;
  const std::vector<VolumeSummary>& after_;
  std::vector<bool> taken_;
  std::vector<std::optional<std::size_t>> matches_;
};

}  // namespace

std::vector<std::optional<std::size_t>> match_volumes(const std::vector<VolumeSummary>& before,
                                                      const std::vector<VolumeSummary>& after) {
  Matcher matcher(before, after);
  matcher.pair([](const VolumeSummary& a, const VolumeSummary& b) {
    return !a.uuid.empty() && a.uuid == b.uuid && a.type == b.type;
  });
  matcher.pair([](const VolumeSummary& a, const VolumeSummary& b) {
    return same_place(a, b) && has_files(a) == has_files(b);
  });
  matcher.pair_last_ones_with_files();
  matcher.pair(same_place);
  return std::move(matcher).matches();
}

}  // namespace vmpack
