// SPDX-License-Identifier: Apache-2.0
// The small parts of the S3 store, one by one.
#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/s3/http_body.hpp"
#include "libvmpack/store/s3/retry.hpp"
#include "libvmpack/store/s3/s3_xml.hpp"
#include "libvmpack/store/s3/spool.hpp"
#include "libvmpack/store/text.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

Bytes read_all(HttpBody& body, std::size_t piece) {
  Bytes all;
  Bytes buffer(piece);
  while (const std::size_t got = body.read(all.size(), buffer)) append(all, ByteView(buffer).first(got));
  return all;
}

S3ListPage list_of(std::string_view xml) { return parse_s3_list(as_byte_view(xml), "a list"); }

}  // namespace

TEST_CASE("parts are read as one body, from anywhere, again and again") {
  const Bytes whole = random_bytes(1, 1000);
  std::vector<ByteView> parts{{}};
  for (std::size_t at = 0; at < whole.size(); at += 7) {
    parts.push_back(ByteView(whole).subspan(at, std::min<std::size_t>(7, whole.size() - at)));
    parts.emplace_back();
  }
  PartsBody body(parts);
  REQUIRE(body.size() == whole.size());
  for (const std::size_t piece : {1, 5, 7, 64, 2000}) CHECK(read_all(body, piece) == whole);
  Random random(2);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t offset = random.below(whole.size());
    Bytes some(1 + random.below(50));
    some.resize(body.read(offset, some));
    CHECK(std::ranges::equal(some, ByteView(whole).subspan(offset, some.size())));
  }
  BodyRange range(body, 100, 300);
  CHECK(read_all(range, 64) == Bytes(whole.begin() + 100, whole.begin() + 400));
}

TEST_CASE("a spool takes what memory there is, then a file, and gives the memory back") {
  SpoolMemory memory(3 * kMiB);
  const Bytes whole = random_bytes(1, 5 * kMiB + 3);
  {
    Spool first(memory);
    first.append(ByteView(whole).first(kMiB + 1));  // takes two blocks
    Spool second(memory);
    for (std::size_t at = 0; at < whole.size(); at += 300'000) {
      second.append(ByteView(whole).subspan(at, std::min<std::size_t>(300'000, whole.size() - at)));
    }
    CHECK_FALSE(memory.take(1));
    CHECK(second.size() == whole.size());
    for (const std::size_t piece : {100'000, 1 << 20, 1 << 24}) CHECK(read_all(second, piece) == whole);
    CHECK(read_all(first, 1 << 16) == Bytes(whole.begin(), whole.begin() + kMiB + 1));
  }
  CHECK(memory.take(3 * kMiB));
}

TEST_CASE("waits double up to their bound, and are anywhere below it") {
  const RetryPolicy policy{.first_wait_max = std::chrono::milliseconds(100),
                           .wait_max = std::chrono::milliseconds(1000)};
  CHECK(retry_wait(policy, 2, 100).count() == 100);
  CHECK(retry_wait(policy, 2, 101).count() == 0);
  CHECK(retry_wait(policy, 4, 400).count() == 400);
  CHECK(retry_wait(policy, 6, 1000).count() == 1000);
  CHECK(retry_wait(policy, 6, 1001).count() == 0);
  CHECK(retry_wait(policy, 4'000'000'000, 1000).count() == 1000);
}

TEST_CASE("URLs are escaped as AWS's signature wants it") {
  CHECK(escape_url("AZaz09-._~") == "AZaz09-._~");
  CHECK(escape_url("a/b+c@d:e =", "/") == "a/b%2Bc%40d%3Ae%20%3D");
  CHECK(escape_url("\xc3\xa4/") == "%C3%A4%2F");
  CHECK(unescape_url("a%2Fb+%c3%A4") == "a/b+\xc3\xa4");
  for (const char* bad : {"%", "%2", "%zz", "a%+1"}) CHECK_FALSE(unescape_url(bad));
}

TEST_CASE("a list is read with its keys unescaped") {
  const S3ListPage page = list_of(
      "<?xml version=\"1.0\"?><ListBucketResult "
      "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>true"
      "</IsTruncated><Contents><Key>a/b%2Bc</Key><Size>12</Size><Owner><ID>1</ID></Owner></Contents>"
      "<Contents><Size>0</Size><Key>d</Key></Contents><NextContinuationToken>t/+=&amp;</"
      "NextContinuationToken>"
      "<CommonPrefixes><Prefix>x</Prefix></CommonPrefixes></ListBucketResult>");
  REQUIRE(page.keys.size() == 2);
  CHECK(page.keys[0].key == "a/b+c");
  CHECK(page.keys[0].bytes == 12);
  CHECK(page.next_token == "t/+=&");
}

TEST_CASE("a list that makes no sense is damage") {
  const auto list = [](std::string_view inside) {
    return "<ListBucketResult>" + std::string(inside) + "</ListBucketResult>";
  };
  for (const std::string& bad :
       {std::string(), std::string("text"), std::string("<Error/>"),
        list("<Contents><Key>a</Key></Contents>"), list("<Contents><Size>1</Size></Contents>"),
        list("<Contents><Key>%zz</Key><Size>1</Size></Contents>"),
        list("<Contents><Key>a</Key><Size>-1</Size></Contents>"), list("<IsTruncated>true</IsTruncated>"),
        list("<a><b><c><d><e><f><g><h></h></g></f></e></d></c></b></a>"), list(std::string(9000, 'x')),
        "<!DOCTYPE a>" + list(""), list("") + list("")}) {
    INFO(bad.substr(0, 100));
    CHECK(error_of([&] { (void)list_of(bad); }).code() == ErrorCode::kDamaged);
  }
}

TEST_CASE("errors, uploads and their ends are read, and anything else is nothing") {
  const auto error = parse_s3_error(as_byte_view(
      "<Error><Code>NoSuchKey</Code><Message>a &lt;b&gt;</Message><Region>eu-1</Region><x/></Error>"));
  CHECK(error.code == "NoSuchKey");
  CHECK(error.message == "a <b>");
  CHECK(error.region == "eu-1");
  CHECK(parse_s3_error(as_byte_view("<html><Code>x</Code></html>")).code.empty());
  CHECK(parse_s3_error(as_byte_view("<Error><Code>cut")).code.empty());
  CHECK(parse_s3_upload_id(as_byte_view("<InitiateMultipartUploadResult><UploadId>a/b</UploadId>"
                                        "</InitiateMultipartUploadResult>"),
                           "x") == "a/b");
  CHECK(error_of([] { (void)parse_s3_upload_id(as_byte_view("<x/>"), "x"); }).code() == ErrorCode::kDamaged);
  CHECK(is_s3_completed(as_byte_view("  \n<?xml version=\"1.0\"?> <CompleteMultipartUploadResult/> \n")));
  CHECK(is_s3_completed(as_byte_view("<CompleteMultipartUploadResult/>")));
  CHECK_FALSE(is_s3_completed(as_byte_view("<Error><Code>InternalError</Code></Error>")));
  const std::vector<std::string> tags{"\"a\"", "\"b\""};
  CHECK(make_s3_complete(tags).find("<Part><PartNumber>2</PartNumber><ETag>\"b\"</ETag></Part>") !=
        std::string::npos);
}
