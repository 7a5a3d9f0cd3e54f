// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/http_get.hpp"

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/store/s3/http.hpp"

namespace vmpack {

Bytes http_get(const std::string& url, std::uint64_t bytes_max) {
  HttpClient client({});
  HttpRequest request;
  request.method = "GET";
  request.url = url;
  request.body_bytes_max = bytes_max;
  HttpReply reply = client.perform(request, {});
  if (reply.problem == HttpProblem::kTooLarge)
    throw Error(ErrorCode::kLimit,
                fmt::format("the answer of {} is over the limit of {} bytes", printable(url), bytes_max));
  if (reply.problem != HttpProblem::kNone)
    throw Error(ErrorCode::kIo,
                fmt::format("cannot ask {}: {}", printable(url), printable(reply.problem_text)));
  if (reply.status != 200)
    throw Error(ErrorCode::kIo, fmt::format("{} answers with status {}", printable(url), reply.status));
  return std::move(reply.body);
}

}  // namespace vmpack
