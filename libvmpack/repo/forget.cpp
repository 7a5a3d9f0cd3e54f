// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/forget.hpp"

#include <fmt/core.h>
#include <fnmatch.h>

#include <algorithm>
#include <chrono>
#include <optional>

namespace vmpack {
namespace {

using Days = std::chrono::sys_days;

Days day_of(std::int64_t seconds) {
  return std::chrono::floor<std::chrono::days>(std::chrono::sys_seconds(std::chrono::seconds(seconds)));
}

std::int64_t number_of_day(Days day) { return day.time_since_epoch().count(); }

std::int64_t number_of_week(Days day) {
  const auto since_monday = std::chrono::weekday(day) - std::chrono::Monday;
  return number_of_day(day - since_monday);
}

std::int64_t number_of_month(Days day) {
  const std::chrono::year_month_day date(day);
  return int{date.year()} * std::int64_t{12} + unsigned{date.month()};
}

std::int64_t number_of_year(Days day) { return int{std::chrono::year_month_day(day).year()}; }

/// Keeps the newest of each of the first `count` periods that have one. `decisions`: the newest first.
void keep_periods(std::vector<KeepDecision>& decisions, std::uint32_t count, std::string_view reason,
                  std::int64_t (*number_of)(Days)) {
  std::optional<std::int64_t> last;
  for (KeepDecision& decision : decisions) {
    if (count == 0) return;
    const std::int64_t number = number_of(day_of(decision.reference.modified_seconds));
    if (number == last) continue;
    last = number;
    --count;
    decision.reasons.emplace_back(reason);
  }
}

}  // namespace

std::vector<KeepDecision> decide(std::vector<ReferenceEntry> references, const KeepRules& rules) {
  std::ranges::sort(references, [](const ReferenceEntry& a, const ReferenceEntry& b) {
    return std::pair(a.modified_seconds, a.name.tag) > std::pair(b.modified_seconds, b.name.tag);
  });
  std::vector<KeepDecision> decisions;
  for (ReferenceEntry& reference : references) decisions.push_back({std::move(reference), {}});
  for (std::size_t i = 0; i < std::min<std::size_t>(rules.last, decisions.size()); ++i)
    decisions[i].reasons.emplace_back("last");
  keep_periods(decisions, rules.daily, "daily", number_of_day);
  keep_periods(decisions, rules.weekly, "weekly", number_of_week);
  keep_periods(decisions, rules.monthly, "monthly", number_of_month);
  keep_periods(decisions, rules.yearly, "yearly", number_of_year);
  for (KeepDecision& decision : decisions) {
    for (const std::string& pattern : rules.tags) {
      if (::fnmatch(pattern.c_str(), decision.reference.name.tag.c_str(), 0) == 0)
        decision.reasons.push_back(fmt::format("tag {}", pattern));
    }
  }
  return decisions;
}

}  // namespace vmpack
