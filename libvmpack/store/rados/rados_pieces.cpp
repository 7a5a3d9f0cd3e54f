// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/rados/rados_pieces.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <vector>

#include "libvmpack/store/key.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kPiecesAtOnce = 16;
const std::string kClockObject = std::string(kStoreOwnPart) + "/clock";

// Ends what is under way; the first error of all, or 0.
int wait_for_all(std::vector<std::unique_ptr<RadosPending>>& pending) {
  int first = 0;
  for (const auto& one : pending) {
    const int result = one->wait();
    if (result < 0 && result != -ENOENT && first == 0) first = result;
  }
  pending.clear();
  return first;
}

struct PieceRead {
  std::unique_ptr<RadosPendingRead> pending;
  std::size_t bytes;
};

int wait_for_all(std::vector<PieceRead>& reads) {
  int first = 0;
  for (const auto& read : reads) {
    RadosObject piece;
    int result = read.pending->wait(piece);
    if (result == 0 && piece.bytes_read != read.bytes) result = -EIO;
    if (result < 0 && first == 0) first = result;
  }
  reads.clear();
  return first;
}

// The names of pieces, by version: how many there may be of each (the largest number and one).
std::map<std::string, std::uint64_t> listed_pieces(RadosPool& pool) {
  std::map<std::string, std::uint64_t> pieces;
  const std::string own = std::string(kStoreOwnPart) + "/";
  pool.list([&](std::string_view name) {
    if (!name.starts_with(own)) return;
    name.remove_prefix(own.size());
    const std::size_t slash = name.find('/');
    if (slash == std::string_view::npos) return;
    const auto number = parse_number<std::uint64_t>(name.substr(slash + 1));
    if (!number || *number >= kRadosValueBytesMax / kRadosPieceBytesMin) return;
    std::uint64_t& count = pieces[std::string(name.substr(0, slash))];
    count = std::max(count, *number + 1);
  });
  return pieces;
}

// Whether the value that owns the pieces is there and made of them.
bool is_in_use(RadosPool& pool, const std::string& version, const std::string& owner) {
  if (!is_key(owner)) return false;
  RadosObject head;
  const int result = pool.read(owner, head);
  if (result < 0 && result != -ENOENT) throw pool.error(result, "cannot read", owner);
  return result == 0 && head.version == version;
}

// Takes the first piece away, and with it the right to put the value. False when it is in use, or too young.
bool condemn(RadosPool& pool, const std::string& version, std::int64_t before) {
  const std::string name = rados_piece_name(version, 0);
  RadosObject first;
  int result = pool.read(name, first);
  if (result == -ENOENT) return true;
  if (result < 0) throw pool.error(result, "cannot read", name);
  if (first.modified_seconds >= before || is_in_use(pool, version, first.owner)) return false;
  result = pool.write(
      name, std::move(pool.begin_write().expect_attribute(kRadosOwnerAttribute, first.owner).remove()), 0);
  if (result < 0 && result != -ENOENT && result != -ECANCELED)
    throw pool.error(result, "cannot remove", name);
  return result != -ECANCELED;
}

}  // namespace

std::int64_t rados_now(RadosPool& pool) {
  std::int64_t now = pool.time_at(kClockObject);
  if (now == -ENOENT) {
    const int made = pool.write(kClockObject, std::move(pool.begin_write().create_exclusively()), 0);
    if (made < 0 && made != -EEXIST) throw pool.error(made, "cannot write", kClockObject);
    now = pool.time_at(kClockObject);
  }
  if (now < 0) throw pool.error(static_cast<int>(now), "cannot ask for the time of", kClockObject);
  return now;
}

int read_rados_pieces(RadosPool& pool, const RadosHead& head, std::uint64_t offset, ByteSpan into) {
  std::vector<PieceRead> reads;
  int result = 0;
  while (!into.empty() && result == 0) {
    const std::uint64_t within = offset % head.piece_bytes;
    const auto bytes =
        static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), head.piece_bytes - within));
    const std::string name = rados_piece_name(head.version, offset / head.piece_bytes);
    if (reads.empty() && bytes == into.size()) {  // the usual read, of one frame: the shortest way
      const int read = pool.read_bytes(name, within, into);
      return read < 0 ? read : (static_cast<std::size_t>(read) == bytes ? 0 : -EIO);
    }
    reads.push_back({pool.start_read(name, within, into.first(bytes)), bytes});
    into = into.subspan(bytes);
    offset += bytes;
    if (reads.size() == kPiecesAtOnce) result = wait_for_all(reads);
  }
  const int rest = wait_for_all(reads);
  return result < 0 ? result : rest;
}

int remove_rados_pieces(RadosPool& pool, const std::string& version, std::uint64_t count) {
  std::vector<std::unique_ptr<RadosPending>> pending;
  int first = 0;
  while (count > 0 && first == 0) {
    --count;
    if (count == 0 || pending.size() == kPiecesAtOnce) first = wait_for_all(pending);
    if (first == 0) {
      pending.push_back(
          pool.start_write(rados_piece_name(version, count), std::move(pool.begin_write().remove()), 0));
    }
  }
  const int last = wait_for_all(pending);
  return first < 0 ? first : last;
}

void remove_rados_leftovers(RadosPool& pool, std::int64_t seconds) {
  const std::int64_t before = rados_now(pool) - seconds;
  for (const auto& [version, count] : listed_pieces(pool)) {
    if (!condemn(pool, version, before)) continue;
    const int result = remove_rados_pieces(pool, version, count);
    if (result < 0) throw pool.error(result, "cannot remove", rados_piece_name(version, 0));
  }
}

}  // namespace vmpack
