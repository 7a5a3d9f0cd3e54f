// SPDX-License-Identifier: Apache-2.0
// A store in an S3 bucket: a value is an object whose key is the store's prefix and the value's key. What was
// put when is told apart by an id that each put leaves with its value, because equal bytes have equal entity
// tags.
//
// Where the server does not heed conditions (asked once), the last writer wins: a put looks first, writes,
// and reads whose value is there then.
#include "libvmpack/store/s3/s3_store.hpp"

#include <fmt/core.h>

#include <mutex>
#include <random>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/store/key.hpp"
#include "libvmpack/store/s3/s3_client.hpp"
#include "libvmpack/store/s3/s3_upload.hpp"
#include "libvmpack/store/s3/s3_xml.hpp"
#include "libvmpack/store/s3/spool.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kAskFirstBytes = 64 * kKiB;  // larger values are not sent in vain
constexpr int kPutRaces = 8;
constexpr int kEmptyPagesMax = 100;
constexpr std::string_view kOnlyNew = "If-None-Match: *";
constexpr std::string_view kNoTag = "\"00000000000000000000000000000000\"";
constexpr std::string_view kProbeKey = "conditions";  // in the store's own folder, as the next
constexpr std::string_view kClockKey = "clock";

std::string random_put_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

std::string version_token(const HttpReply& reply) {
  std::string_view id = reply.header(kPutIdHeader);
  if (id.empty()) id = reply.header("last-modified");  // of a value that another program copied here
  return fmt::format("{} {}", reply.header("etag"), id);
}

// Of a reply to GET or HEAD, which the client has seen to have a length.
StoreStat stat_of(const HttpReply& reply) {
  return {.bytes = reply.content_length().value_or(0),
          .modified_seconds = parse_http_date(reply.header("last-modified")).value_or(0),
          .version = {version_token(reply)}};
}

std::string entity_tag(const StoreVersion& version) {
  return version.token.substr(0, version.token.find(' '));
}

bool is_of_put(const StoreStat& stat, const std::string& put_id) {
  return stat.version.token.ends_with(" " + put_id);
}

// An entity tag as a server wants it in a condition.
std::string in_form(std::string tag, bool bare) {
  if (bare && tag.size() >= 2 && tag.front() == '"' && tag.back() == '"') tag = tag.substr(1, tag.size() - 2);
  return tag;
}

class S3Store final : public Store {
 public:
  explicit S3Store(S3Settings settings)
      : client_(std::move(settings)),
        location_(fmt::format("s3://{}{}{}", client_.settings().bucket,
                              client_.settings().prefix.empty() ? "" : "/", client_.settings().prefix)),
        key_prefix_(client_.settings().prefix.empty() ? "" : client_.settings().prefix + "/"),
        spool_memory_(client_.settings().spool_memory_bytes) {}

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
  std::int64_t now() override;
  std::string local_path(std::string_view key) override;
  [[nodiscard]] std::string location() const override { return location_; }

 private:
  class Draft;

  /// Which conditions of a put the server heeds.
  struct Conditions {
    bool only_new = false;
    bool only_version = false;
    bool bare_tags = false;  // it wants entity tags without their quotes
  };

  [[nodiscard]] std::string doing(std::string_view verb, std::string_view key) const {
    return fmt::format("cannot {} {}/{}", verb, location_, key);
  }
  [[nodiscard]] S3Request request_of(std::string method, std::string_view verb, std::string_view key) const {
    return {.method = std::move(method),
            .full_key = fmt::format("{}{}", key_prefix_, key),
            .body_bytes_max = limits::kS3ErrorBytesMax,
            .doing = doing(verb, key)};
  }
  [[nodiscard]] S3Upload upload_of(std::string_view key, std::string condition,
                                   std::function<bool()> still_wanted) const;
  [[nodiscard]] bool put_new(std::string_view key, HttpBody& body);
  [[nodiscard]] bool put_once(const S3Upload& upload, std::string_view key, HttpBody& body);
  [[nodiscard]] S3ListPage list_page(std::string_view prefix, const std::string& token);
  [[nodiscard]] const Conditions& conditions();
  [[nodiscard]] S3Reply probe(std::string_view condition);
  [[nodiscard]] bool heeds(std::string_view condition);
  void ask_for_tags();

  S3Client client_;
  const std::string location_;
  const std::string key_prefix_;
  SpoolMemory spool_memory_;
  std::once_flag conditions_asked_;
  Conditions conditions_;
};

S3Upload S3Store::upload_of(std::string_view key, std::string condition,
                            std::function<bool()> still_wanted) const {
  return {.full_key = fmt::format("{}{}", key_prefix_, key),
          .put_id = random_put_id(),
          .condition = std::move(condition),
          .doing = doing("write", key),
          .still_wanted = std::move(still_wanted)};
}

// Puts a value of ours. It stays, so that the next one who asks needs fewer requests.
S3Reply S3Store::probe(std::string_view condition) {
  const std::string key = fmt::format("{}/{}", kStoreOwnPart, kProbeKey);
  const ByteView text = as_byte_view("asks whether this server heeds conditions of a put");
  PartsBody body(std::span(&text, 1));
  S3Request request = request_of("PUT", "write", key);
  request.headers = {std::string(condition)};
  request.body = &body;
  request.answers = {404, 412, 501};
  return client_.send(request);
}

// Puts it twice: a server that heeds the condition refuses the second.
bool S3Store::heeds(std::string_view condition) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    const S3Reply reply = probe(condition);
    if (reply.status == 412) return true;
    if (reply.status >= 300) return false;
  }
  return false;
}

// A server must refuse a wrong tag and take the right one. Ceph's gateway compares what it is sent with its
// own text, which has no quotes: there no tag in quotes ever holds.
void S3Store::ask_for_tags() {
  if (!heeds(fmt::format("If-Match: {}", kNoTag))) return;
  const std::string key = fmt::format("{}/{}", kStoreOwnPart, kProbeKey);
  // Others may ask at the same time, and where values are encrypted each put makes a tag of its own.
  for (int attempt = 0; attempt < kPutRaces; ++attempt) {
    const std::string tag(client_.send(request_of("HEAD", "read", key)).header("etag"));
    for (const bool bare : {false, true}) {
      if (probe("If-Match: " + in_form(tag, bare)).status >= 300) continue;
      conditions_.only_version = !bare || heeds("If-Match: " + in_form(std::string(kNoTag), bare));
      conditions_.bare_tags = bare;
      return;
    }
  }
}

const S3Store::Conditions& S3Store::conditions() {
  std::call_once(conditions_asked_, [this] {
    conditions_.only_new = heeds(kOnlyNew);
    ask_for_tags();
  });
  return conditions_;
}

bool S3Store::put_if_absent(std::string_view key, std::span<const ByteView> parts) {
  check_key(key, location_);
  PartsBody body(parts);
  return put_new(key, body);
}

bool S3Store::put_new(std::string_view key, HttpBody& body) {
  const bool exclusive = conditions().only_new;
  if ((!exclusive || body.size() > kAskFirstBytes) && stat(key)) return false;
  const S3Upload upload =
      upload_of(key, std::string(exclusive ? kOnlyNew : ""), [this, key] { return !stat(key).has_value(); });
  for (int attempt = 0; attempt < kPutRaces; ++attempt) {
    if (put_once(upload, key, body)) return true;
    if (const auto found = stat(key)) return is_of_put(*found, upload.put_id);
    // Somebody's value was there, and has been removed since.
  }
  throw Error(ErrorCode::kIo, upload.doing + ": it keeps being written and removed by others", "try again");
}

// True when the value is certainly there, by this put. False says nothing: it may still be so.
bool S3Store::put_once(const S3Upload& upload, std::string_view key, HttpBody& body) {
  if (!send_value(client_, upload, body)) return false;
  // Several servers heed conditions for single requests alone.
  if (!upload.condition.empty() && body.size() <= client_.settings().single_put_bytes_max) return true;
  const auto found = stat(key);
  return found && is_of_put(*found, upload.put_id);
}

class S3Store::Draft final : public StoreDraft {
 public:
  explicit Draft(S3Store& store) : store_(store), spool_(store.spool_memory_) {}

  void append(std::span<const ByteView> parts) override {
    for (const ByteView& part : parts) spool_.append(part);
  }
  bool put_if_absent(std::string_view key) override {
    check_key(key, store_.location_);
    return store_.put_new(key, spool_);
  }

 private:
  S3Store& store_;
  Spool spool_;
};

std::unique_ptr<StoreDraft> S3Store::begin_draft() { return std::make_unique<Draft>(*this); }

bool S3Store::replace_if_version(std::string_view key, ByteView bytes,
                                 const std::optional<StoreVersion>& expected) {
  check_key(key, location_);
  PartsBody body(std::span(&bytes, 1));
  if (!expected) return put_new(key, body);
  // The entity tag alone would take a newer value for the old one if their bytes are the same.
  const auto is_expected = [this, key, &expected] {
    const auto found = stat(key);
    return found && found->version == *expected;
  };
  if (!is_expected()) return false;
  const std::string tag = entity_tag(*expected);
  const bool exclusive = conditions().only_version && !tag.empty();
  const S3Upload upload =
      upload_of(key, exclusive ? "If-Match: " + in_form(tag, conditions().bare_tags) : "", is_expected);
  if (put_once(upload, key, body)) return true;
  const auto found = stat(key);
  return found && is_of_put(*found, upload.put_id);
}

void S3Store::get_range(std::string_view key, std::uint64_t offset, ByteSpan into) {
  check_key(key, location_);
  S3Request request = request_of("GET", "read", key);
  if (into.empty()) {  // there is no such range in HTTP
    request.method = "HEAD";
    static_cast<void>(client_.send(request));
    return;
  }
  request.range = ByteRange{offset, into.size()};
  request.into = into;
  request.answers = {416};
  const S3Reply reply = client_.send(request);
  if (reply.status == 206 && reply.bytes == into.size()) return;
  throw Error(ErrorCode::kDamaged,
              fmt::format("{}/{} is damaged: it ends before {} bytes from offset {}, which were to be read",
                          location_, key, into.size(), offset));
}

Bytes S3Store::get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) {
  check_key(key, location_);
  S3Request request = request_of("GET", "read", key);
  request.body_bytes_max = bytes_max;
  S3Reply reply = client_.send(request);
  const StoreStat found = stat_of(reply);
  if (stat != nullptr) *stat = found;
  return std::move(reply.body);
}

std::optional<StoreStat> S3Store::stat(std::string_view key) {
  check_key(key, location_);
  S3Request request = request_of("HEAD", "read", key);
  request.answers = {404};
  const S3Reply reply = client_.send(request);
  if (reply.status == 404) return std::nullopt;
  return stat_of(reply);
}

S3ListPage S3Store::list_page(std::string_view prefix, const std::string& token) {
  S3Request request{
      .method = "GET",
      .query = "encoding-type=url&list-type=2&prefix=" + escape_url(key_prefix_ + std::string(prefix)),
      .body_bytes_max = limits::kS3ListBytesMax,
      .doing = doing("list", prefix)};
  if (!token.empty())
    request.query = fmt::format("continuation-token={}&{}", escape_url(token), request.query);
  return parse_s3_list(client_.send(request).body, request.doing);
}

void S3Store::list(std::string_view prefix,
                   const std::function<void(const std::string& key, std::uint64_t bytes)>& each) {
  check_key_prefix(prefix, location_);
  std::string last;
  std::string token;
  int empty_pages = 0;  // in a row: a server may send some
  do {
    const S3ListPage page = list_page(prefix, token);
    for (const S3ListedKey& listed : page.keys) {
      // Also ends a server that would send the same page for ever.
      if (!listed.key.starts_with(key_prefix_) || listed.key <= last) {
        throw Error(ErrorCode::kUnsupported,
                    doing("list", prefix) + ": the server does not list keys in byte order",
                    "use a bucket of another kind");
      }
      last = listed.key;
      const std::string key = listed.key.substr(key_prefix_.size());
      if (is_key(key)) each(key, listed.bytes);
    }
    empty_pages = page.keys.empty() ? empty_pages + 1 : 0;
    if (empty_pages > kEmptyPagesMax) {
      throw Error(ErrorCode::kDamaged, doing("list", prefix) + ": the server's list does not come to an end");
    }
    token = page.next_token;
  } while (!token.empty());
}

void S3Store::remove(std::string_view key) {
  check_key(key, location_);
  S3Request request = request_of("DELETE", "remove", key);
  request.answers = {404};
  static_cast<void>(client_.send(request));
}

// Asked each time: this process, or the machine it runs on, may have been paused since.
std::int64_t S3Store::now() {
  S3Request request = request_of("HEAD", "read", fmt::format("{}/{}", kStoreOwnPart, kClockKey));
  request.answers = {404};
  const S3Reply reply = client_.send(request);
  if (const auto seconds = parse_http_date(reply.header("date"))) return *seconds;
  throw Error(ErrorCode::kDamaged, location_ + ": the server's answers have no date");
}

std::string S3Store::local_path(std::string_view key) {
  check_key(key, location_);
  return {};
}

}  // namespace

std::unique_ptr<Store> open_s3_store(S3Settings settings) {
  return std::make_unique<S3Store>(std::move(settings));
}

}  // namespace vmpack
