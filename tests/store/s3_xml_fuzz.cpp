// SPDX-License-Identifier: Apache-2.0
// Whatever a server answers instead of XML.
#include "libvmpack/base/error.hpp"
#include "libvmpack/store/s3/s3_xml.hpp"
#include "tests/support/fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto xml = std::as_bytes(std::span(data, size));
  static_cast<void>(vmpack::parse_s3_error(xml));
  static_cast<void>(vmpack::is_s3_completed(xml));
  try {
    static_cast<void>(vmpack::parse_s3_list(xml, "fuzz"));
  } catch (const vmpack::Error&) {
  }
  try {
    static_cast<void>(vmpack::parse_s3_upload_id(xml, "fuzz"));
  } catch (const vmpack::Error&) {
  }
  return 0;
}

std::vector<vmpack::Bytes> vmpack::test::fuzz_seeds() {
  std::vector<Bytes> seeds;
  for (const std::string_view xml :
       {"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
        "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<Name>b</Name><IsTruncated>true</IsTruncated><Contents><Key>a/b%2Bc</Key><ETag>&quot;x&quot;</"
        "ETag><Size>12</Size>"
        "</Contents><NextContinuationToken>t</NextContinuationToken></ListBucketResult>",
        "<Error><Code>NoSuchKey</Code><Message>m</Message><Region>r</Region></Error>",
        "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>",
        "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"}) {
    const ByteView bytes = as_byte_view(xml);
    seeds.emplace_back(bytes.begin(), bytes.end());
  }
  return seeds;
}
