// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/condemned.hpp"

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/sealed_json.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kFormat = "vmpack-condemned";

Condemned from_text(std::string_view text) {
  return read_json(check_sealed_json(text, kCondemnedKey), kCondemnedKey, [](const OrderedJson& json) {
    check_json_format(json, kFormat, {}, kCondemnedKey);
    Condemned condemned;
    for (const OrderedJson& batch : json.at("batches")) {
      condemned.batches.push_back({batch.at("marked").get<std::int64_t>(), batch.at("deleting").get<bool>(),
                                   batch.at("keys").get<std::vector<std::string>>()});
    }
    return condemned;
  });
}

std::string to_text(const Condemned& condemned) {
  OrderedJson batches = OrderedJson::array();
  for (const CondemnedBatch& batch : condemned.batches) {
    batches.push_back({{"marked", batch.marked}, {"deleting", batch.deleting}, {"keys", batch.keys}});
  }
  return seal_json(dump_json({{"format", kFormat},
                              {"version", kFormatVersion},
                              {"required_features", OrderedJson::array()},
                              {"batches", std::move(batches)}}));
}

}  // namespace

std::unordered_set<std::string> Condemned::keys() const {
  std::unordered_set<std::string> keys;
  for (const CondemnedBatch& batch : batches) keys.insert(batch.keys.begin(), batch.keys.end());
  return keys;
}

std::unordered_set<std::string> Condemned::being_deleted() const {
  std::unordered_set<std::string> keys;
  for (const CondemnedBatch& batch : batches) {
    if (batch.deleting) keys.insert(batch.keys.begin(), batch.keys.end());
  }
  return keys;
}

Condemned read_condemned(Store& store, std::optional<StoreVersion>* version) {
  try {
    StoreStat stat;
    const Bytes bytes = store.get(kCondemnedKey, limits::kJsonBytesMax, &stat);
    if (version != nullptr) *version = stat.version;
    return from_text(as_text(bytes));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNotFound) return {};
    throw;
  }
}

void write_condemned(Store& store, const Condemned& condemned) {
  std::optional<StoreVersion> version;
  static_cast<void>(read_condemned(store, &version));
  if (condemned.batches.empty()) return store.remove(kCondemnedKey);
  if (!store.replace_if_version(kCondemnedKey, as_byte_view(to_text(condemned)), version)) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}/{} was changed by somebody else", store.location(), kCondemnedKey),
                "two collections ran at once: run 'vmpack gc' again");
  }
}

}  // namespace vmpack
