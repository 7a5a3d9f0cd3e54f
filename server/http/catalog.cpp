// SPDX-License-Identifier: Apache-2.0
#include "server/http/catalog.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/repo/notes.hpp"

namespace vmpack::http {
namespace {

using std::chrono::seconds;

/// How old a view may be, how long bringing one up to date may read facts, and how much of the time it may
/// take all in all: one part in kRefreshShare.
constexpr seconds kViewAge{2};
constexpr seconds kFactsTime{1};
constexpr int kRefreshShare = 10;
constexpr seconds kPacksAge{60};
/// The facts about an operating system follow its snapshot: they are looked for again for a while.
constexpr seconds kFactsAge{60};
constexpr std::int64_t kFactsFollowSeconds = 3600;

/// The first system's name, and how many packages all have.
void read_os(std::string_view text, std::optional<std::string>& name, std::size_t& packages) {
  read_json(text, kOsNote, [&](const OrderedJson& json) {
    for (const OrderedJson& system : json.at("systems")) {
      if (!name) name = system.at("product_name").get<std::string>();
      packages += system.at("packages").size();
    }
  });
}

}  // namespace

std::shared_ptr<const CatalogView> Catalog::view() {
  if (const std::unique_lock lock(refreshing_, std::try_to_lock); lock && Clock::now() >= next_refresh_) {
    const auto began = Clock::now();
    auto fresh = refresh();
    next_refresh_ =
        Clock::now() + std::max<Clock::duration>(kViewAge, kRefreshShare * (Clock::now() - began));
    const std::scoped_lock guard(mutex_);
    view_ = std::move(fresh);
  }
  const std::scoped_lock guard(mutex_);
  return view_;
}

bool Catalog::is_due(const Facts& facts, const ReferenceEntry& entry) const {
  if (facts.damaged) return Clock::now() - facts.read_at > kFactsAge;
  const bool may_follow =
      !facts.os && repository_->store().now() - entry.modified_seconds < kFactsFollowSeconds;
  return may_follow && Clock::now() - facts.read_at > kFactsAge;
}

Catalog::Facts Catalog::read_facts(const ReferenceEntry& entry) const {
  Facts facts{.read_at = Clock::now()};
  try {
    const Manifest manifest = repository_->manifest(entry.snapshot);
    facts.image_bytes = manifest.image_bytes;
    facts.data_bytes = manifest.data_bytes;
    const std::string kind = ingest_note(entry.name);
    if (const auto note = repository_->note(entry.snapshot, kind)) {
      facts.stored_bytes = read_json(
          *note, kind, [](const OrderedJson& json) { return json.at("stored_bytes").get<std::uint64_t>(); });
    }
    if (const auto note = repository_->note(entry.snapshot, kOsNote))
      read_os(*note, facts.os, facts.packages);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kIo) throw;
    facts.damaged = true;
  }
  return facts;
}

/// Null when they are not known and there is no time left to read them.
const Catalog::Facts* Catalog::facts_of(const ReferenceEntry& entry, Clock::time_point deadline) {
  const auto found = facts_.find(entry.snapshot);
  const bool known = found != facts_.end();
  if (known && !is_due(found->second, entry)) return &found->second;
  if (Clock::now() > deadline) return known ? &found->second : nullptr;
  return &facts_.insert_or_assign(entry.snapshot, read_facts(entry)).first->second;
}

void Catalog::count_packs() {
  if (packs_bytes_ > 0 && Clock::now() - packs_counted_ < kPacksAge) return;
  packs_bytes_ = 0;
  repository_->store().list("packs/",
                            [&](const std::string&, std::uint64_t bytes) { packs_bytes_ += bytes; });
  packs_counted_ = Clock::now();
}

std::shared_ptr<const CatalogView> Catalog::refresh() {
  auto view = std::make_shared<CatalogView>();
  const auto entries = repository_->references();
  count_packs();
  view->totals.references = entries.size();
  view->totals.stored_bytes = packs_bytes_;
  view->complete = entries.size() <= kCatalogRowsMax;
  const auto deadline = Clock::now() + kFactsTime;
  std::unordered_set<SnapshotDigest, DigestHash> seen;
  for (const ReferenceEntry& entry : entries) {
    if (view->rows.size() == kCatalogRowsMax) break;
    OrderedJson row = {{"reference", entry.name.text()},
                       {"snapshot", entry.snapshot.hex()},
                       {"time", entry.modified_seconds}};
    const Facts* facts = facts_of(entry, deadline);
    if (facts == nullptr) view->complete = false;
    if (facts != nullptr && !facts->damaged) {
      row["image_bytes"] = facts->image_bytes;
      row["data_bytes"] = facts->data_bytes;
      if (facts->stored_bytes) row["stored_bytes"] = *facts->stored_bytes;
      if (facts->os) row["os"] = *facts->os;
      if (facts->os) row["packages"] = facts->packages;
    }
    if (facts != nullptr && facts->damaged) row["damaged"] = true;
    view->rows.push_back({entry.name.text(), dump_json_line(row)});
    if (facts == nullptr || !seen.insert(entry.snapshot).second) continue;
    view->totals.image_bytes += facts->image_bytes;
    view->totals.data_bytes += facts->data_bytes;
  }
  view->totals.snapshots = seen.size();
  std::erase_if(facts_, [&](const auto& known) { return !seen.contains(known.first); });
  return view;
}

std::string Catalog::entry(std::string_view reference) const {
  const SnapshotDigest snapshot = repository_->resolve(reference);
  OrderedJson json = {{"reference", reference}, {"snapshot", snapshot.hex()}};
  json["manifest"] = OrderedJson::parse(to_json(repository_->manifest(snapshot)));
  if (const auto note = repository_->note(snapshot, kOsNote))
    json["os"] = read_json(*note, kOsNote, [](const OrderedJson& facts) { return facts.at("systems"); });
  return dump_json_line(json) + '\n';
}

}  // namespace vmpack::http
