// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/s3_xml.hpp"

#include <expat.h>
#include <fmt/core.h>

#include <exception>
#include <functional>
#include <memory>
#include <optional>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kDepthMax = 8;
constexpr std::size_t kTextBytesMax = 8 * kKiB;  // of one element
constexpr std::size_t kKeysMax = 1000;           // of one page

/// Calls `on_element(path, text)` at the end of each element, with the names from the root on: "Error/Code".
class Reader {
 public:
  using OnElement = std::function<void(std::string_view path, std::string_view text)>;

  explicit Reader(OnElement on_element)
      : on_element_(std::move(on_element)), parser_(XML_ParserCreate(nullptr)) {
    if (!parser_) throw std::bad_alloc();
    XML_SetUserData(parser_.get(), this);
    XML_SetElementHandler(parser_.get(), &on_start, &on_end);
    XML_SetCharacterDataHandler(parser_.get(), &on_text);
    XML_SetStartDoctypeDeclHandler(parser_.get(), &on_doctype);
  }

  /// False unless all of it is one document within the limits. Throws what `on_element` throws.
  bool read(ByteView xml) {
    if (xml.size() > limits::kS3ListBytesMax) return false;
    // Servers send spaces, also before the declaration, while they are at work.
    const std::string_view text = trimmed(as_text(xml));
    const XML_Status status = XML_Parse(parser_.get(), text.data(), static_cast<int>(text.size()), XML_TRUE);
    if (failure_) std::rethrow_exception(failure_);
    return status == XML_STATUS_OK;
  }

 private:
  struct Free {
    void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
  };

  template <typename Work>
  void guarded(Work work) noexcept {
    try {
      if (work()) return;
    } catch (...) {
      failure_ = std::current_exception();
    }
    XML_StopParser(parser_.get(), XML_FALSE);
  }

  static void on_start(void* self, const XML_Char* name, const XML_Char** /*attributes*/) {
    auto& reader = *static_cast<Reader*>(self);
    reader.guarded([&] {
      reader.lengths_.push_back(reader.path_.size());
      if (!reader.path_.empty()) reader.path_ += '/';
      reader.path_ += name;
      reader.text_.clear();
      return reader.lengths_.size() <= kDepthMax && reader.path_.size() <= kTextBytesMax;
    });
  }
  static void on_end(void* self, const XML_Char* /*name*/) {
    auto& reader = *static_cast<Reader*>(self);
    reader.guarded([&] {
      reader.on_element_(reader.path_, reader.text_);
      reader.path_.resize(reader.lengths_.back());
      reader.lengths_.pop_back();
      reader.text_.clear();
      return true;
    });
  }
  static void on_text(void* self, const XML_Char* text, int length) {
    auto& reader = *static_cast<Reader*>(self);
    reader.guarded([&] {
      reader.text_.append(text, static_cast<std::size_t>(length));
      return reader.text_.size() <= kTextBytesMax;
    });
  }
  static void on_doctype(void* self, const XML_Char* /*name*/, const XML_Char* /*system_id*/,
                         const XML_Char* /*public_id*/, int /*has_subset*/) {
    static_cast<Reader*>(self)->guarded([] { return false; });
  }

  OnElement on_element_;
  std::unique_ptr<std::remove_pointer_t<XML_Parser>, Free> parser_;
  std::string path_;
  std::vector<std::size_t> lengths_;  // of path_, before each open element
  std::string text_;
  std::exception_ptr failure_;
};

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{}: the server's answer is none that S3 gives: {}", where, what),
          "check that the endpoint is one of an S3 store"};
}

/// Collects a list; a problem found on the way is told at the end.
struct ListReader {
  S3ListPage page;
  std::optional<std::string> key;
  std::optional<std::uint64_t> bytes;
  bool truncated = false;
  bool is_list = false;
  std::string problem;

  void on_element(std::string_view path, std::string_view text) {
    if (path == "ListBucketResult/Contents/Key") {
      key = unescape_url(text);
    } else if (path == "ListBucketResult/Contents/Size") {
      bytes = parse_number<std::uint64_t>(trimmed(text));
    } else if (path == "ListBucketResult/Contents") {
      end_key();
    } else if (path == "ListBucketResult/IsTruncated") {
      truncated = trimmed(text) == "true";
    } else if (path == "ListBucketResult/NextContinuationToken") {
      page.next_token = text;
    } else if (path == "ListBucketResult") {
      is_list = true;
    }
  }
  void end_key() {
    if (!key || !bytes) problem = "a key without its name or size";
    if (page.keys.size() == kKeysMax) problem = "too many keys";
    if (!problem.empty()) return;
    page.keys.push_back({std::move(*key), *bytes});
    key.reset();
    bytes.reset();
  }
};

}  // namespace

S3ErrorBody parse_s3_error(ByteView xml) noexcept {
  S3ErrorBody body;
  try {
    Reader reader([&](std::string_view path, std::string_view text) {
      if (path == "Error/Code") body.code = trimmed(text);
      if (path == "Error/Message") body.message = trimmed(text);
      if (path == "Error/Region") body.region = trimmed(text);
    });
    if (!reader.read(xml)) return {};
  } catch (const std::exception&) {
    return {};
  }
  return body;
}

S3ListPage parse_s3_list(ByteView xml, std::string_view where) {
  ListReader list;
  Reader reader([&](std::string_view path, std::string_view text) { list.on_element(path, text); });
  if (!reader.read(xml) || !list.is_list) throw damaged(where, "not a list");
  if (!list.problem.empty()) throw damaged(where, list.problem);
  if (!list.truncated) list.page.next_token.clear();
  if (list.truncated && list.page.next_token.empty()) throw damaged(where, "a list without its continuation");
  return std::move(list.page);
}

std::string parse_s3_upload_id(ByteView xml, std::string_view where) {
  constexpr std::size_t kIdBytesMax = 1024;
  std::string id;
  Reader reader([&](std::string_view path, std::string_view text) {
    if (path == "InitiateMultipartUploadResult/UploadId") id = text;
  });
  if (!reader.read(xml) || id.empty() || id.size() > kIdBytesMax) throw damaged(where, "no upload was begun");
  return id;
}

bool is_s3_completed(ByteView xml) noexcept {
  bool completed = false;
  try {
    Reader reader([&](std::string_view path, std::string_view /*text*/) {
      completed = completed || path == "CompleteMultipartUploadResult";
    });
    return reader.read(xml) && completed;
  } catch (const std::exception&) {
    return false;
  }
}

std::string make_s3_complete(std::span<const std::string> entity_tags) {
  std::string xml = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (std::size_t i = 0; i < entity_tags.size(); ++i) {
    // Tags are quoted hexadecimal digits, checked by whoever received them.
    xml += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1, entity_tags[i]);
  }
  return xml + "</CompleteMultipartUpload>";
}

}  // namespace vmpack
