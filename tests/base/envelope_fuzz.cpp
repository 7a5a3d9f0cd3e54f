// SPDX-License-Identifier: Apache-2.0
// Whatever an envelope says: it is taken whole, or refused.
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/sealed_json.hpp"
#include "tests/support/fuzz.hpp"

using namespace vmpack;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes = std::as_bytes(std::span(data, size));
  try {
    const Envelope envelope = parse_envelope(bytes, FileKind::kBlockMap, "fuzz", 1024);
    VMPACK_ASSERT(envelope.header_bytes <= 1024);
    VMPACK_ASSERT(body_offset(envelope) >= kEnvelopeBytes + envelope.header_bytes);
    check_header(envelope,
                 bytes.subspan(kEnvelopeBytes, std::min(envelope.header_bytes, size - kEnvelopeBytes)),
                 "fuzz");
  } catch (const Error&) {
  }
  try {
    check_sealed_json(as_text(bytes), "fuzz");
  } catch (const Error&) {
  }
  return 0;
}

std::vector<Bytes> vmpack::test::fuzz_seeds() {
  const std::string json = seal_json("{\"format\": 1}");
  const ByteView sealed = as_byte_view(json);
  return {make_envelope(FileKind::kBlockMap, as_byte_view("a header"), 5),
          make_envelope(FileKind::kBlockMap, {}, 0),
          make_envelope(FileKind::kPlaces, as_byte_view("another"), 0), Bytes(sealed.begin(), sealed.end())};
}
