// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/curl_library.hpp"

#include <dlfcn.h>
#include <fmt/core.h>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr const char* kLibraryName = "libcurl.so.4";

Error unusable(std::string_view why) {
  return {ErrorCode::kUnsupported,
          fmt::format("S3 stores need {}, and it cannot be used: {}", kLibraryName, why),
          "install libcurl (Debian's package libcurl4)"};
}

template <typename Function>
void find_function(void* library, const char* name, Function& function) {
  void* const address = ::dlsym(library, name);
  if (address == nullptr) throw unusable(fmt::format("it has no {}", name));
  function = reinterpret_cast<Function>(address);
}

CurlLibrary load() {
  void* const library = ::dlopen(kLibraryName, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw unusable(::dlerror());  // NOLINT(concurrency-mt-unsafe): per thread in glibc
  CurlLibrary curl{};
  find_function(library, "curl_global_init", curl.global_init);
  find_function(library, "curl_easy_init", curl.easy_init);
  find_function(library, "curl_easy_reset", curl.easy_reset);
  find_function(library, "curl_easy_setopt", curl.easy_setopt);
  find_function(library, "curl_easy_perform", curl.easy_perform);
  find_function(library, "curl_easy_getinfo", curl.easy_getinfo);
  find_function(library, "curl_easy_strerror", curl.easy_strerror);
  find_function(library, "curl_easy_cleanup", curl.easy_cleanup);
  find_function(library, "curl_slist_append", curl.slist_append);
  find_function(library, "curl_slist_free_all", curl.slist_free_all);
  find_function(library, "curl_share_init", curl.share_init);
  find_function(library, "curl_share_setopt", curl.share_setopt);
  find_function(library, "curl_share_cleanup", curl.share_cleanup);
  find_function(library, "curl_getdate", curl.getdate);
  if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw unusable("it does not start");
  return curl;
}

}  // namespace

const CurlLibrary& curl_library() {
  static const CurlLibrary kLibrary = load();
  return kLibrary;
}

}  // namespace vmpack
