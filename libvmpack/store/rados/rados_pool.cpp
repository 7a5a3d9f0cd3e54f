// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/rados/rados_pool.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "libvmpack/store/rados/rados_head.hpp"

namespace vmpack {
namespace {

constexpr int kTimeoutSeconds = 60;
// An operation's size in librados is an int, and a read never asks for more than a piece.
constexpr std::size_t kReadBytesMax = kRadosPieceBytesMax;

const char* as_chars(ByteView bytes) { return as_text(bytes).data(); }
char* as_chars(ByteSpan bytes) { return static_cast<char*>(static_cast<void*>(bytes.data())); }

}  // namespace

RadosWrite::RadosWrite(const LibRados& library)
    : library_(&library), operation_(library.create_write_op(), library.release_write_op) {}

RadosWrite& RadosWrite::create_exclusively() {
  library_->write_op_create(operation_.get(), LIBRADOS_CREATE_EXCLUSIVE, nullptr);
  return *this;
}

RadosWrite& RadosWrite::expect_exists() {
  library_->write_op_assert_exists(operation_.get());
  return *this;
}

RadosWrite& RadosWrite::expect_attribute(const char* name, std::string_view value) {
  library_->write_op_cmpxattr(operation_.get(), name, LIBRADOS_CMPXATTR_OP_EQ, value.data(), value.size());
  return *this;
}

RadosWrite& RadosWrite::set_attribute(const char* name, std::string_view value) {
  library_->write_op_setxattr(operation_.get(), name, value.data(), value.size());
  return *this;
}

RadosWrite& RadosWrite::write_all_of(ByteView bytes) {
  library_->write_op_write_full(operation_.get(), as_chars(bytes), bytes.size());
  return *this;
}

RadosWrite& RadosWrite::hint_final() {
  library_->write_op_set_alloc_hint2(operation_.get(), 0, 0,
                                     LIBRADOS_ALLOC_HINT_FLAG_IMMUTABLE | LIBRADOS_ALLOC_HINT_FLAG_LONGLIVED |
                                         LIBRADOS_ALLOC_HINT_FLAG_INCOMPRESSIBLE);
  return *this;
}

RadosWrite& RadosWrite::remove() {
  library_->write_op_remove(operation_.get());
  return *this;
}

RadosPending::RadosPending(const LibRados& library)
    : library_(library), write_(nullptr, library.release_write_op) {
  VMPACK_ASSERT(library_.aio_create_completion2(nullptr, nullptr, &completion_) == 0);
}

RadosPending::~RadosPending() {
  if (started_) static_cast<void>(wait());
  library_.aio_release(completion_);
}

int RadosPending::wait() {
  library_.aio_wait_for_complete(completion_);
  return library_.aio_get_return_value(completion_);
}

RadosPendingRead::RadosPendingRead(const LibRados& library)
    : library_(library), pending_(library), read_(library.create_read_op(), library.release_read_op) {}

RadosPendingRead::~RadosPendingRead() {
  if (pending_.started_) static_cast<void>(pending_.wait());
  if (attributes_ != nullptr) library_.getxattrs_end(attributes_);
}

int RadosPendingRead::wait(RadosObject& object) {
  const int result = pending_.wait();
  if (result < 0) return result;
  const auto failed = std::ranges::find_if(results_, [](int one) { return one < 0; });
  if (failed != results_.end()) return *failed;
  const char* name = nullptr;
  const char* value = nullptr;
  std::size_t length = 0;
  while (library_.getxattrs_next(attributes_, &name, &value, &length) == 0 && name != nullptr) {
    if (std::strcmp(name, kRadosHeadAttribute) == 0) object.head.assign(value, length);
    if (std::strcmp(name, kRadosVersionAttribute) == 0) object.version.assign(value, length);
    if (std::strcmp(name, kRadosOwnerAttribute) == 0) object.owner.assign(value, length);
  }
  object.bytes = bytes_;
  object.modified_seconds = modified_;
  object.bytes_read = bytes_read_;
  return 0;
}

RadosPool::RadosPool(const RadosLocation& location)
    : library_(load_librados()), location_(location.text()), user_(location.user), pool_(location.pool) {
  const int created = library_->create2(&cluster_, "ceph", location.user.c_str(), 0);
  if (created < 0) throw error(created, "cannot prepare a connection to", "");
  try {
    configure(location);
    if (const int result = library_->connect(cluster_); result < 0)
      throw error(result, "cannot connect to", "");
    const int opened = library_->ioctx_create(cluster_, location.pool.c_str(), &objects_);
    if (opened == -ENOENT) {
      throw Error(ErrorCode::kNotFound, fmt::format("{}: there is no pool '{}'", location_, location.pool),
                  fmt::format("make it with: ceph osd pool create {}", location.pool));
    }
    if (opened < 0) throw error(opened, "cannot open", "");
    library_->ioctx_set_namespace(objects_, location.name_space.c_str());
  } catch (...) {
    library_->shutdown(cluster_);
    throw;
  }
}

RadosPool::~RadosPool() {
  library_->ioctx_destroy(objects_);
  library_->shutdown(cluster_);
}

// What the user says goes before the configuration, and that before our defaults.
void RadosPool::configure(const RadosLocation& location) {
  const auto set = [&](const char* name, const std::string& value) {
    const int result = library_->conf_set(cluster_, name, value.c_str());
    if (result < 0) throw error(result, fmt::format("cannot set {} for", name), "");
  };
  const auto set_timeouts = [&](int seconds) {
    for (const char* name : {"rados_osd_op_timeout", "rados_mon_op_timeout", "client_mount_timeout"}) {
      set(name, std::to_string(seconds));
    }
  };
  // Messages of the library would come between ours.
  set("log_to_stderr", "false");
  set("err_to_stderr", "false");
  set_timeouts(kTimeoutSeconds);
  const char* const conf = location.conf.empty() ? nullptr : location.conf.c_str();
  if (const int result = library_->conf_read_file(cluster_, conf); result < 0) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: cannot read Ceph's configuration{}{}", location_, conf == nullptr ? "" : " ",
                            location.conf),
                "name it as ?conf=PATH in the URL or in CEPH_CONF; Ceph looks for /etc/ceph/ceph.conf");
  }
  if (const int result = library_->conf_parse_env(cluster_, nullptr); result < 0) {
    throw Error(ErrorCode::kInvalid,
                fmt::format("{}: there is an option in CEPH_ARGS that Ceph does not know", location_));
  }
  if (!location.keyring.empty()) set("keyring", location.keyring);
  if (location.timeout_seconds) set_timeouts(*location.timeout_seconds);
}

Error RadosPool::error(int result, std::string_view doing, std::string_view key) const {
  const std::string where = key.empty() ? location_ : fmt::format("{}/{}", location_, key);
  const Error plain = system_error(-result, doing, where);
  switch (-result) {
    case EACCES:
      return {plain.code(), plain.what(),
              fmt::format("check that the cluster knows {} by the key in its keyring", user_)};
    case EPERM:
      return {plain.code(), plain.what(),
              fmt::format("writing takes, of Ceph: ceph auth caps {} mon 'allow r' osd 'allow rwx pool={}'",
                          user_, pool_)};
    case ENOSPC:
    case EDQUOT:
      return {plain.code(), plain.what(),
              fmt::format(
                  "the pool is full: add space or raise its quota (ceph osd pool get-quota {}), and run the "
                  "command again; what was committed before is unharmed",
                  pool_)};
    case ETIMEDOUT:
      return {
          plain.code(), plain.what(),
          "see whether the cluster is well (ceph status); ?timeout=SECONDS in the URL sets how long to wait"};
    case ESHUTDOWN:
      return {plain.code(), plain.what(),
              "the cluster has blocked this client (ceph osd blocklist ls): run the command again"};
    default:
      return plain;
  }
}

std::unique_ptr<RadosPending> RadosPool::start_write(const std::string& object, RadosWrite write,
                                                     std::int64_t seconds) {
  auto pending = std::make_unique<RadosPending>(*library_);
  pending->write_ = std::move(write.operation_);
  std::time_t time = seconds;
  const int result = library_->aio_write_op_operate(pending->write_.get(), objects_, pending->completion_,
                                                    object.c_str(), &time, LIBRADOS_OPERATION_FULL_TRY);
  if (result < 0) throw error(result, "cannot write", object);
  pending->started_ = true;
  return pending;
}

int RadosPool::write(const std::string& object, RadosWrite write, std::int64_t seconds) {
  return start_write(object, std::move(write), seconds)->wait();
}

std::unique_ptr<RadosPendingRead> RadosPool::start_read(const std::string& object, std::uint64_t offset,
                                                        ByteSpan into) {
  VMPACK_ASSERT(into.size() <= kReadBytesMax);
  auto pending = std::make_unique<RadosPendingRead>(*library_);
  rados_read_op_t const read = pending->read_.get();
  library_->read_op_stat(read, &pending->bytes_, &pending->modified_, &pending->results_[0]);
  library_->read_op_getxattrs(read, &pending->attributes_, &pending->results_[1]);
  if (!into.empty()) {
    library_->read_op_read(read, offset, into.size(), as_chars(into), &pending->bytes_read_,
                           &pending->results_[2]);
  }
  const int result =
      library_->aio_read_op_operate(read, objects_, pending->pending_.completion_, object.c_str(), 0);
  if (result < 0) throw error(result, "cannot read", object);
  pending->pending_.started_ = true;
  return pending;
}

int RadosPool::read(const std::string& object, RadosObject& found, std::uint64_t offset, ByteSpan into) {
  return start_read(object, offset, into)->wait(found);
}

int RadosPool::read_bytes(const std::string& object, std::uint64_t offset, ByteSpan into) {
  VMPACK_ASSERT(into.size() <= kReadBytesMax);
  return library_->read(objects_, object.c_str(), as_chars(into), into.size(), offset);
}

void RadosPool::list(const std::function<void(std::string_view name)>& each) {
  rados_list_ctx_t opened = nullptr;
  if (const int result = library_->nobjects_list_open(objects_, &opened); result < 0) {
    throw error(result, "cannot list", "");
  }
  const std::unique_ptr<void, decltype(LibRados::nobjects_list_close)> context(opened,
                                                                               library_->nobjects_list_close);
  while (true) {
    const char* name = nullptr;
    std::size_t length = 0;
    const int result =
        library_->nobjects_list_next2(context.get(), &name, nullptr, nullptr, &length, nullptr, nullptr);
    if (result == -ENOENT) return;
    if (result < 0) throw error(result, "cannot list", "");
    each(std::string_view(name, length));
  }
}

// Of the classes of functions that every OSD has, one tells the time: "otp", made for one-time passwords.
// Ceph's encoding puts version, oldest reader's version and length before what it encodes.
std::int64_t RadosPool::time_at(const std::string& object) {
  constexpr std::array<char, 6> kRequest = {1, 1, 0, 0, 0, 0};
  constexpr std::size_t kHeadBytes = 6;
  std::array<char, 64> reply{};
  const int result = library_->exec(objects_, object.c_str(), "otp", "get_current_time", kRequest.data(),
                                    kRequest.size(), reply.data(), reply.size());
  if (result < 0) return result;
  std::uint32_t seconds = 0;  // then nanoseconds, in as many bytes
  if (static_cast<std::size_t>(result) < kHeadBytes + 2 * sizeof(seconds)) return -EPROTO;
  std::memcpy(&seconds, &reply[kHeadBytes], sizeof(seconds));
  return seconds;
}

}  // namespace vmpack
