// SPDX-License-Identifier: Apache-2.0
// libcurl, loaded when a store first needs it: with all that it brings along it would cost every start of
// vmpack and vmserve some milliseconds.
#pragma once

#include <curl/curl.h>

namespace vmpack {

/// libcurl's functions under their own names without "curl_".
struct CurlLibrary {
  decltype(&::curl_global_init) global_init;
  decltype(&::curl_easy_init) easy_init;
  decltype(&::curl_easy_reset) easy_reset;
  decltype(&::curl_easy_setopt) easy_setopt;
  decltype(&::curl_easy_perform) easy_perform;
  decltype(&::curl_easy_getinfo) easy_getinfo;
  decltype(&::curl_easy_strerror) easy_strerror;
  decltype(&::curl_easy_cleanup) easy_cleanup;
  decltype(&::curl_slist_append) slist_append;
  decltype(&::curl_slist_free_all) slist_free_all;
  decltype(&::curl_share_init) share_init;
  decltype(&::curl_share_setopt) share_setopt;
  decltype(&::curl_share_cleanup) share_cleanup;
  decltype(&::curl_getdate) getdate;
};

/// Loads and initialises the library at the first call; it stays. Any thread. Throws kUnsupported when it is
/// not installed.
[[nodiscard]] const CurlLibrary& curl_library();

}  // namespace vmpack
