// SPDX-License-Identifier: Apache-2.0
// A value is a RADOS object named like its key, its head; a large one's bytes lie in pieces that the head
// leads to. The head is written last and removed first, in one atomic operation each (formats/rados.md).
#include "libvmpack/store/rados/rados_store.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <unordered_map>

#include "libvmpack/store/key.hpp"
#include "libvmpack/store/rados/rados_head.hpp"
#include "libvmpack/store/rados/rados_pieces.hpp"
#include "libvmpack/store/rados/rados_pool.hpp"
#include "libvmpack/store/rados/rados_value_writer.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kHeadsMax = 16 * 1024;
constexpr std::size_t kListedKeysMax = 50'000'000;
constexpr std::size_t kHeadsAtOnce = 64;
constexpr std::size_t kFirstReadBytes = 64 * kKiB;
// How often a value may be replaced while it is read, before the reader gives up.
constexpr int kAttempts = 100;

// Heads of large values that were read before: their pieces are read without asking again. A value that is
// removed or replaced takes its pieces with it, so a stale head is noticed. Any thread.
class KnownHeads {
 public:
  [[nodiscard]] std::optional<RadosHead> find(std::string_view key) {
    const std::lock_guard lock(mutex_);
    const auto found = heads_.find(std::string(key));
    return found == heads_.end() ? std::nullopt : std::optional(found->second);
  }
  void add(std::string_view key, const RadosHead& head) {
    const std::lock_guard lock(mutex_);
    if (heads_.size() >= kHeadsMax) heads_.clear();
    heads_.insert_or_assign(std::string(key), head);
  }
  void drop(std::string_view key) {
    const std::lock_guard lock(mutex_);
    heads_.erase(std::string(key));
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, RadosHead> heads_;
};

class RadosStore final : public Store {
 public:
  explicit RadosStore(const RadosLocation& location) : location_(location.text()), pool_(location) {}

  bool put_if_absent(std::string_view key, std::span<const ByteView> parts) override;
  using Store::put_if_absent;
  std::unique_ptr<StoreDraft> begin_draft() override;
  bool replace_if_version(std::string_view key, ByteView bytes,
                          const std::optional<StoreVersion>& expected) override;
  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override;
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override;
  std::optional<StoreStat> stat(std::string_view key) override;
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override;
  void remove(std::string_view key) override;
  void clean_up() override { remove_rados_leftovers(pool_, kRadosLeftoverSeconds); }
  std::int64_t now() override { return rados_now(pool_); }
  std::string local_path(std::string_view key) override;
  [[nodiscard]] std::string location() const override { return location_; }

 private:
  class Draft;
  using Each = std::function<void(const std::string& key, std::uint64_t bytes)>;

  [[nodiscard]] std::string path_of(std::string_view key) const {
    return fmt::format("{}/{}", location_, key);
  }
  [[nodiscard]] Error not_found(std::string_view key) const {
    return pool_.error(-ENOENT, "cannot open", key);
  }
  [[nodiscard]] Error piece_error(int result, std::string_view key) const;
  [[nodiscard]] Error ends_early(std::string_view key, const RadosHead& head, std::uint64_t offset,
                                 std::size_t bytes) const;
  [[nodiscard]] RadosHead decode(const RadosObject& object, std::string_view key) const;
  // nullopt without the key. A small value's bytes from `offset` come along, `bytes_read` of them.
  [[nodiscard]] std::optional<RadosHead> read_head(std::string_view key, std::uint64_t offset = 0,
                                                   ByteSpan into = {}, std::size_t* bytes_read = nullptr);
  // False when it was replaced or removed between head and pieces, or `head` was read long before.
  [[nodiscard]] bool read_pieces(std::string_view key, const RadosHead& head, std::uint64_t offset,
                                 ByteSpan into);
  // Hands on the keys in [first, last), which are sorted, that are still there.
  void list_sizes(std::span<const std::string> keys, const Each& each);

  const std::string location_;
  RadosPool pool_;
  KnownHeads known_;
};

StoreStat stat_of(const RadosHead& head) {
  return {.bytes = head.bytes, .modified_seconds = head.modified_seconds, .version = {head.version}};
}

Error RadosStore::piece_error(int result, std::string_view key) const {
  if (result == -ENOENT || result == -EIO) {
    return {ErrorCode::kDamaged,
            fmt::format("{} is damaged: a piece of it is missing or cut short", path_of(key))};
  }
  return pool_.error(result, "cannot read", key);
}

Error RadosStore::ends_early(std::string_view key, const RadosHead& head, std::uint64_t offset,
                             std::size_t bytes) const {
  return {ErrorCode::kDamaged,
          fmt::format("{} is damaged: it ends after {} bytes, and {} from offset {} were to be read",
                      path_of(key), head.bytes, bytes, offset)};
}

RadosHead RadosStore::decode(const RadosObject& object, std::string_view key) const {
  RadosHead head = decode_rados_head(object.head, object.version, path_of(key));
  head.modified_seconds = object.modified_seconds;
  return head;
}

std::optional<RadosHead> RadosStore::read_head(std::string_view key, std::uint64_t offset, ByteSpan into,
                                               std::size_t* bytes_read) {
  RadosObject object;
  const int result = pool_.read(std::string(key), object, offset, into);
  if (result == -ENOENT) return std::nullopt;
  if (result < 0) throw pool_.error(result, "cannot read", key);
  if (bytes_read != nullptr) *bytes_read = object.bytes_read;
  return decode(object, key);
}

bool RadosStore::read_pieces(std::string_view key, const RadosHead& head, std::uint64_t offset,
                             ByteSpan into) {
  const int result = read_rados_pieces(pool_, head, offset, into);
  if (result == -ENOENT) return false;
  if (result < 0) throw piece_error(result, key);
  return true;
}

class RadosStore::Draft final : public StoreDraft {
 public:
  explicit Draft(RadosStore& store) : store_(store), writer_(store.pool_) {}

  void append(std::span<const ByteView> parts) override { writer_.append(parts); }

  bool put_if_absent(std::string_view key) override {
    check_key(key, store_.location_);
    return writer_.publish(std::string(key), std::nullopt);
  }

 private:
  RadosStore& store_;
  RadosValueWriter writer_;
};

std::unique_ptr<StoreDraft> RadosStore::begin_draft() { return std::make_unique<Draft>(*this); }

bool RadosStore::put_if_absent(std::string_view key, std::span<const ByteView> parts) {
  check_key(key, location_);
  std::uint64_t bytes = 0;
  for (const ByteView part : parts) bytes += part.size();
  if (bytes > kRadosPieceBytes && read_head(key)) return false;  // saves writing a big value in vain
  RadosValueWriter writer(pool_);
  writer.append(parts);
  return writer.publish(std::string(key), std::nullopt);
}

bool RadosStore::replace_if_version(std::string_view key, ByteView bytes,
                                    const std::optional<StoreVersion>& expected) {
  check_key(key, location_);
  if (!expected) return put_if_absent(key, bytes);
  const std::optional<RadosHead> old = read_head(key);
  if (!old || old->version != expected->token) return false;
  RadosValueWriter writer(pool_);
  writer.append(std::span(&bytes, 1));
  if (!writer.publish(std::string(key), expected->token)) return false;
  known_.drop(key);
  // What cannot be removed now is a leftover: the replacement stands.
  static_cast<void>(remove_rados_pieces(pool_, old->version, old->pieces()));
  return true;
}

void RadosStore::get_range(std::string_view key, std::uint64_t offset, ByteSpan into) {
  std::optional<RadosHead> head = known_.find(key);
  if (head && offset <= head->bytes && into.size() <= head->bytes - offset &&
      read_pieces(key, *head, offset, into)) {
    return;
  }
  known_.drop(key);
  check_key(key, location_);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    // No value in one object is longer than that.
    const ByteSpan at_once =
        offset < kRadosPieceBytesMax && into.size() <= kRadosPieceBytesMax ? into : ByteSpan();
    std::size_t bytes_read = 0;
    head = read_head(key, offset, at_once, &bytes_read);
    if (!head) throw not_found(key);
    if (offset > head->bytes || into.size() > head->bytes - offset) {
      throw ends_early(key, *head, offset, into.size());
    }
    if (!head->in_pieces()) {
      if (bytes_read != into.size()) throw ends_early(key, *head, offset, into.size());
      return;
    }
    if (read_pieces(key, *head, offset, into)) {
      known_.add(key, *head);
      return;
    }
  }
  throw piece_error(-ENOENT, key);
}

Bytes RadosStore::get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) {
  check_key(key, location_);
  std::array<std::byte, kFirstReadBytes> first;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::size_t bytes_read = 0;
    const std::optional<RadosHead> head = read_head(key, 0, first, &bytes_read);
    if (!head) throw not_found(key);
    if (head->bytes > bytes_max) {
      throw Error(ErrorCode::kLimit,
                  fmt::format("{} has {} bytes, over the limit of {}", path_of(key), head->bytes, bytes_max));
    }
    if (stat != nullptr) *stat = stat_of(*head);
    if (!head->in_pieces() && head->bytes <= first.size()) {
      if (bytes_read != head->bytes) throw ends_early(key, *head, 0, head->bytes);
      return {first.begin(), first.begin() + static_cast<std::ptrdiff_t>(bytes_read)};
    }
    Bytes bytes(head->bytes);
    if (head->in_pieces()) {
      if (read_pieces(key, *head, 0, bytes)) return bytes;
      continue;
    }
    const std::optional<RadosHead> again = read_head(key, 0, bytes, &bytes_read);
    if (!again || again->version != head->version) continue;
    if (bytes_read != bytes.size()) throw ends_early(key, *head, 0, bytes.size());
    return bytes;
  }
  throw piece_error(-ENOENT, key);
}

std::optional<StoreStat> RadosStore::stat(std::string_view key) {
  check_key(key, location_);
  const std::optional<RadosHead> head = read_head(key);
  return head ? std::optional(stat_of(*head)) : std::nullopt;
}

// RADOS lists objects in the order of their names' hashes, and all of a pool whatever is asked for.
void RadosStore::list(std::string_view prefix, const Each& each) {
  check_key_prefix(prefix, location_);
  std::vector<std::string> keys;
  pool_.list([&](std::string_view name) {
    if (!name.starts_with(prefix) || !is_key(name)) return;
    if (keys.size() == kListedKeysMax) {
      throw Error(ErrorCode::kLimit, fmt::format("{} has more than {} values", location_, kListedKeysMax));
    }
    keys.emplace_back(name);
  });
  std::ranges::sort(keys);
  for (std::size_t begin = 0; begin < keys.size(); begin += kHeadsAtOnce) {
    list_sizes(std::span(keys).subspan(begin, std::min(kHeadsAtOnce, keys.size() - begin)), each);
  }
}

void RadosStore::list_sizes(std::span<const std::string> keys, const Each& each) {
  std::vector<std::unique_ptr<RadosPendingRead>> pending;
  for (const std::string& key : keys) pending.push_back(pool_.start_read(key));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    RadosObject object;
    const int result = pending[i]->wait(object);
    if (result == -ENOENT) continue;  // removed meanwhile
    if (result < 0) throw pool_.error(result, "cannot read", keys[i]);
    if (object.head.empty()) continue;  // somebody else's
    each(keys[i], decode(object, keys[i]).bytes);
  }
}

void RadosStore::remove(std::string_view key) {
  check_key(key, location_);
  while (const std::optional<RadosHead> head = read_head(key)) {
    const int result = pool_.write(std::string(key),
                                   std::move(pool_.begin_write()
                                                 .expect_exists()
                                                 .expect_attribute(kRadosVersionAttribute, head->version)
                                                 .remove()),
                                   0);
    if (result == -ECANCELED) continue;  // replaced meanwhile
    if (result < 0 && result != -ENOENT) throw pool_.error(result, "cannot remove", key);
    known_.drop(key);
    const int removed = remove_rados_pieces(pool_, head->version, head->pieces());
    if (removed < 0) throw pool_.error(removed, "cannot remove", key);
    return;
  }
}

std::string RadosStore::local_path(std::string_view key) {
  check_key(key, location_);
  return {};
}

}  // namespace

std::unique_ptr<Store> open_rados_store(const RadosLocation& location) {
  return std::make_unique<RadosStore>(location);
}

}  // namespace vmpack
