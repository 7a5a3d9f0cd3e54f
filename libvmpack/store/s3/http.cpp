// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/http.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <exception>
#include <mutex>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/store/s3/curl_library.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr long kBufferBytes = 256 * 1024;
constexpr long kSlowBytesPerSecond = 1024;

template <typename Value>
void set(CURL* handle, CURLoption option, Value value) {
  const CURLcode code = curl_library().easy_setopt(handle, option, value);
  if (code == CURLE_OK) return;
  if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  throw Error(ErrorCode::kUnsupported,
              fmt::format("the installed libcurl cannot do what S3 stores need (option {}: {})",
                          static_cast<int>(option), curl_library().easy_strerror(code)),
              "install libcurl 7.85 or newer, with AWS signatures");
}

// libcurl keeps its buffers over a name that was not found, and then refuses new sizes: it works with any.
void set_buffers(CURL* handle) {
  static_cast<void>(curl_library().easy_setopt(handle, CURLOPT_BUFFERSIZE, kBufferBytes));
  static_cast<void>(curl_library().easy_setopt(handle, CURLOPT_UPLOAD_BUFFERSIZE, kBufferBytes));
}

/// One request on its way; what libcurl's callbacks work on. None of them throws.
struct Transfer {
  const HttpRequest& request;
  HttpReply& reply;
  std::uint64_t sent = 0;
  std::size_t header_bytes = 0;
  bool too_large = false;
  std::exception_ptr failure;  // of the body

  bool take_header(std::string_view line);
  bool take_body(ByteView bytes);
  bool reserve_body();
};

bool Transfer::take_header(std::string_view line) {
  header_bytes += line.size();
  if (header_bytes > limits::kHttpHeaderBytesMax) {
    too_large = true;
    return false;
  }
  if (line.starts_with("HTTP/")) {  // of the answer; those before it (100 Continue) do not count
    reply.headers.clear();
    const std::size_t space = line.find(' ');
    reply.status =
        space == std::string_view::npos ? 0 : parse_number<int>(line.substr(space + 1, 3)).value_or(0);
    return true;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  std::string name(line.substr(0, colon));
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  reply.headers.emplace_back(std::move(name), trimmed(line.substr(colon + 1)));
  return true;
}

// Before the first byte: refuses what is known to be too large, and takes memory once.
bool Transfer::reserve_body() {
  const std::uint64_t announced = reply.content_length().value_or(0);
  if (announced > request.body_bytes_max && reply.status < 300) return false;
  reply.body.reserve(static_cast<std::size_t>(std::min(announced, request.body_bytes_max)));
  return true;
}

bool Transfer::take_body(ByteView bytes) {
  const bool is_part = reply.status == 206 && !request.into.empty();
  const std::uint64_t max = is_part              ? request.into.size()
                            : reply.status < 300 ? request.body_bytes_max
                                                 : limits::kS3ErrorBytesMax;
  if ((!is_part && reply.bytes == 0 && !reserve_body()) || bytes.size() > max - reply.bytes) {
    too_large = true;
    return false;
  }
  if (is_part) {
    std::ranges::copy(bytes, request.into.subspan(static_cast<std::size_t>(reply.bytes)).begin());
  } else {
    append(reply.body, bytes);
  }
  reply.bytes += bytes.size();
  return true;
}

// Runs `work`; an exception (no memory) ends the transfer and is rethrown behind it.
template <typename Work>
auto guarded(Transfer& transfer, decltype(std::declval<Work>()()) on_failure, Work work) noexcept {
  try {
    return work();
  } catch (...) {
    transfer.failure = std::current_exception();
    return on_failure;
  }
}

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* transfer) {
  auto& on = *static_cast<Transfer*>(transfer);
  const std::string_view line(data, size * count);
  return guarded(on, std::size_t{0}, [&] { return on.take_header(line) ? line.size() : 0; });
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* transfer) {
  auto& on = *static_cast<Transfer*>(transfer);
  const ByteView bytes = as_byte_view({data, size * count});
  return guarded(on, std::size_t{0}, [&] { return on.take_body(bytes) ? bytes.size() : 0; });
}

std::size_t on_send(char* data, std::size_t size, std::size_t count, void* transfer) {
  auto& on = *static_cast<Transfer*>(transfer);
  return guarded(on, std::size_t{CURL_READFUNC_ABORT}, [&] {
    const std::size_t read =
        on.request.body->read(on.sent, std::as_writable_bytes(std::span(data, size * count)));
    on.sent += read;
    return read;
  });
}

int on_rewind(void* transfer, curl_off_t offset, int origin) {
  if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_FAIL;
  static_cast<Transfer*>(transfer)->sent = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

// Children that this process starts must not hold its connections.
curl_socket_t on_socket(void* /*unused*/, curlsocktype /*purpose*/, curl_sockaddr* address) {
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

HttpProblem problem_of(CURLcode code, const Transfer& transfer) {
  if (transfer.too_large) return HttpProblem::kTooLarge;
  switch (code) {
    case CURLE_OK:
      return HttpProblem::kNone;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_URL_MALFORMAT:
      return HttpProblem::kUnreachable;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      return HttpProblem::kUntrusted;
    case CURLE_OPERATION_TIMEDOUT:
      return HttpProblem::kStalled;
    default:
      return HttpProblem::kBroken;
  }
}

struct FreeList {
  void operator()(curl_slist* list) const { curl_library().slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

HeaderList make_header_list(const HttpRequest& request) {
  HeaderList list;
  for (const std::string& header : request.headers) {
    curl_slist* const longer = curl_library().slist_append(list.get(), header.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    static_cast<void>(list.release());
    list.reset(longer);
  }
  return list;
}

}  // namespace

std::string_view HttpReply::header(std::string_view name) const {
  const auto found = std::ranges::find(headers, name, &std::pair<std::string, std::string>::first);
  return found == headers.end() ? std::string_view() : found->second;
}

std::optional<std::uint64_t> HttpReply::content_length() const {
  return parse_number<std::uint64_t>(header("content-length"));
}

std::optional<std::int64_t> parse_http_date(std::string_view text) {
  const std::time_t seconds = curl_library().getdate(std::string(text).c_str(), nullptr);
  if (seconds < 0) return std::nullopt;
  return seconds;
}

/// Handles keep their connections, and lend them to one request at a time; the one that was used last goes
/// first. All share what they know of names and of TLS sessions.
class HttpClient::Handles {
 public:
  explicit Handles(HttpSettings settings) : settings_(std::move(settings)), share_(curl_.share_init()) {
    if (share_ == nullptr) throw std::bad_alloc();
    curl_.share_setopt(share_, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    curl_.share_setopt(share_, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_.share_setopt(share_, CURLSHOPT_LOCKFUNC, &on_lock);
    curl_.share_setopt(share_, CURLSHOPT_UNLOCKFUNC, &on_unlock);
    curl_.share_setopt(share_, CURLSHOPT_USERDATA, this);
  }
  ~Handles() {
    for (CURL* const handle : free_) curl_.easy_cleanup(handle);
    curl_.share_cleanup(share_);
  }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  [[nodiscard]] const HttpSettings& settings() const { return settings_; }
  [[nodiscard]] CURLSH* share() const { return share_; }

  CURL* take() {
    std::unique_lock lock(mutex_);
    freed_.wait(lock, [&] { return !free_.empty() || made_ < settings_.connections_max; });
    if (!free_.empty()) {
      CURL* const handle = free_.back();
      free_.pop_back();
      return handle;
    }
    CURL* const handle = curl_.easy_init();
    if (handle == nullptr) throw std::bad_alloc();
    ++made_;
    free_.reserve(made_);
    return handle;
  }

  void give_back(CURL* handle) noexcept {
    {
      const std::lock_guard lock(mutex_);
      free_.push_back(handle);
    }
    freed_.notify_one();
  }

 private:
  static void on_lock(CURL* /*unused*/, curl_lock_data data, curl_lock_access /*unused*/, void* self) {
    static_cast<Handles*>(self)->share_locks_.at(data).lock();
  }
  static void on_unlock(CURL* /*unused*/, curl_lock_data data, void* self) {
    static_cast<Handles*>(self)->share_locks_.at(data).unlock();
  }

  const CurlLibrary& curl_ = curl_library();
  const HttpSettings settings_;
  std::array<std::mutex, CURL_LOCK_DATA_LAST> share_locks_;
  CURLSH* const share_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<CURL*> free_;  // guarded by mutex_, as the next
  std::size_t made_ = 0;
};

namespace {

void set_connection(CURL* handle, const HttpSettings& settings, CURLSH* share) {
  set(handle, CURLOPT_SHARE, share);
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  set(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(handle, CURLOPT_MAXCONNECTS, 2L);
  set(handle, CURLOPT_TCP_KEEPALIVE, 1L);
  set(handle, CURLOPT_OPENSOCKETFUNCTION, &on_socket);
  set(handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_time_max.count()));
  set(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(settings.stall_time_max.count()));
  set(handle, CURLOPT_LOW_SPEED_LIMIT, kSlowBytesPerSecond);
  set_buffers(handle);
  if (!settings.ca_bundle.empty()) set(handle, CURLOPT_CAINFO, settings.ca_bundle.c_str());
}

void set_request(CURL* handle, Transfer& transfer, curl_slist* headers, const HttpSigner& signer) {
  const HttpRequest& request = transfer.request;
  set(handle, CURLOPT_URL, request.url.c_str());
  set(handle, CURLOPT_PATH_AS_IS, 1L);
  if (request.method == "HEAD") {
    set(handle, CURLOPT_NOBODY, 1L);
  } else {
    set(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  set(handle, CURLOPT_HTTPHEADER, headers);
  if (!signer.access_key.empty()) {
    set(handle, CURLOPT_AWS_SIGV4, fmt::format("aws:amz:{}:s3", signer.region).c_str());
    set(handle, CURLOPT_USERNAME, signer.access_key.c_str());
    set(handle, CURLOPT_PASSWORD, signer.secret_key.c_str());
  }
  if (request.range) {
    set(handle, CURLOPT_RANGE, fmt::format("{}-{}", request.range->offset, request.range->end() - 1).c_str());
  }
  if (request.body != nullptr) {
    set(handle, CURLOPT_UPLOAD, 1L);
    set(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    set(handle, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body->size()));
    set(handle, CURLOPT_READFUNCTION, &on_send);
    set(handle, CURLOPT_READDATA, static_cast<void*>(&transfer));
    set(handle, CURLOPT_SEEKFUNCTION, &on_rewind);
    set(handle, CURLOPT_SEEKDATA, static_cast<void*>(&transfer));
  }
  set(handle, CURLOPT_HEADERFUNCTION, &on_header);
  set(handle, CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
  set(handle, CURLOPT_WRITEFUNCTION, &on_body);
  set(handle, CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
}

}  // namespace

HttpClient::HttpClient(HttpSettings settings) : handles_(std::make_unique<Handles>(std::move(settings))) {}
HttpClient::~HttpClient() = default;

HttpReply HttpClient::perform(const HttpRequest& request, const HttpSigner& signer) {
  const CurlLibrary& curl = curl_library();
  const auto give_back = [this](CURL* handle) { handles_->give_back(handle); };
  const std::unique_ptr<CURL, decltype(give_back)> handle(handles_->take(), give_back);
  const HeaderList headers = make_header_list(request);
  HttpReply reply;
  Transfer transfer{.request = request, .reply = reply};
  std::array<char, CURL_ERROR_SIZE> error_text{};
  curl.easy_reset(handle.get());
  set_connection(handle.get(), handles_->settings(), handles_->share());
  set_request(handle.get(), transfer, headers.get(), signer);
  set(handle.get(), CURLOPT_ERRORBUFFER, error_text.data());
  const CURLcode code = curl.easy_perform(handle.get());
  curl.easy_reset(handle.get());  // lets go of what lies on this stack
  if (transfer.failure) std::rethrow_exception(transfer.failure);
  reply.problem = problem_of(code, transfer);
  if (reply.problem != HttpProblem::kNone) {
    reply.problem_text = printable(error_text[0] != '\0' ? error_text.data() : curl.easy_strerror(code));
  }
  return reply;
}

}  // namespace vmpack
