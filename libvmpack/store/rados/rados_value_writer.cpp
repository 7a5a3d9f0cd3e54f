// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/rados/rados_value_writer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

#include "libvmpack/store/rados/rados_head.hpp"
#include "libvmpack/store/rados/rados_pieces.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kPiecesAtOnce = 4;

}  // namespace

RadosValueWriter::RadosValueWriter(RadosPool& pool) : pool_(pool), version_(new_rados_version()) {}

RadosValueWriter::~RadosValueWriter() {
  pending_.clear();
  if (published_ || pieces_ == 0) return;
  try {
    remove_rados_pieces(pool_, version_, pieces_);
  } catch (const Error&) {
    // Left for remove_rados_leftovers().
  }
}

void RadosValueWriter::append(std::span<const ByteView> parts) {
  for (ByteView part : parts) {
    while (!part.empty()) {
      if (buffer_.size() == kRadosPieceBytes) write_piece();
      const std::size_t bytes = std::min<std::size_t>(part.size(), kRadosPieceBytes - buffer_.size());
      vmpack::append(buffer_, part.first(bytes));
      part = part.subspan(bytes);
      bytes_ += bytes;
    }
  }
}

void RadosValueWriter::wait_for_oldest() {
  const int result = pending_.front()->wait();
  pending_.pop_front();
  if (result < 0) throw pool_.error(result, "cannot write", rados_piece_name(version_, 0));
}

void RadosValueWriter::write_piece() {
  if (pieces_ == 0) began_ = rados_now(pool_);
  if (pending_.size() == kPiecesAtOnce) wait_for_oldest();
  RadosWrite write = pool_.begin_write();
  write.create_exclusively().hint_final().write_all_of(buffer_);
  if (pieces_ == 0) write.set_attribute(kRadosOwnerAttribute, kRadosNoOwner);
  pending_.push_back(pool_.start_write(rados_piece_name(version_, pieces_), std::move(write), began_));
  if (++pieces_ == 1) wait_for_oldest();  // before the others
  buffer_.clear();
}

// From here on the pieces are those of the key's value, if its head says so too.
void RadosValueWriter::claim(const std::string& key, std::int64_t now) {
  const std::string first = rados_piece_name(version_, 0);
  const int result = pool_.write(first,
                                 std::move(pool_.begin_write()
                                               .expect_exists()
                                               .expect_attribute(kRadosOwnerAttribute, kRadosNoOwner)
                                               .set_attribute(kRadosOwnerAttribute, key)),
                                 now);
  if (result == -ENOENT) {
    throw Error(
        ErrorCode::kIo,
        fmt::format("cannot write {}: it took more than a day, and what was written of it was removed as a "
                    "leftover",
                    key),
        "run the command again");
  }
  if (result < 0) throw pool_.error(result, "cannot write", key);
}

// For a writer that stood still for so long between claim and head that its pieces may have been taken for
// leftovers.
void RadosValueWriter::check_claim(const std::string& key) {
  const std::string first = rados_piece_name(version_, 0);
  RadosObject ignored;
  if (pool_.read(first, ignored) != -ENOENT) return;
  static_cast<void>(pool_.write(
      key, std::move(pool_.begin_write().expect_attribute(kRadosVersionAttribute, version_).remove()), 0));
  throw pool_.error(-ESTALE, "cannot write", key);
}

bool RadosValueWriter::publish(const std::string& key, const std::optional<std::string>& expected) {
  if (pieces_ > 0 && !buffer_.empty()) write_piece();
  while (!pending_.empty()) wait_for_oldest();
  const std::int64_t now = rados_now(pool_);
  if (pieces_ > 0) claim(key, now);

  RadosWrite write = pool_.begin_write();
  if (expected) {
    write.expect_exists().expect_attribute(kRadosVersionAttribute, *expected);
  } else {
    write.create_exclusively();
  }
  const RadosHead head{.bytes = bytes_, .piece_bytes = pieces_ > 0 ? kRadosPieceBytes : 0};
  write.set_attribute(kRadosHeadAttribute, encode_rados_head(head))
      .set_attribute(kRadosVersionAttribute, version_)
      .write_all_of(buffer_);
  const int result = pool_.write(key, std::move(write), now);
  if (!expected && result == -EEXIST) return false;
  if (expected && (result == -ENOENT || result == -ECANCELED)) return false;
  // Without an answer the head may be there, or come to be: its pieces must stay.
  published_ = result == 0 || result == -ETIMEDOUT;
  if (result < 0) throw pool_.error(result, "cannot write", key);
  if (pieces_ > 0 && rados_now(pool_) - now > kRadosLeftoverSeconds / 2) check_claim(key);
  return true;
}

}  // namespace vmpack
