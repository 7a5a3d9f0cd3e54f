// SPDX-License-Identifier: Apache-2.0
#include "server/http/pages.hpp"

#include "libvmpack/base/json.hpp"

namespace vmpack::http {
namespace {

Answer in_use(ExportCatalog& catalog) {
  OrderedJson snapshots = OrderedJson::array();
  for (const SnapshotDigest& snapshot : catalog.in_use()) snapshots.push_back(snapshot.hex());
  return {200, "application/json", dump_json({{"snapshots", std::move(snapshots)}}) + '\n'};
}

}  // namespace

Answer answer(std::string_view method, std::string_view target, ExportCatalog& catalog) {
  if (method != "GET" && method != "HEAD") return {.status = 405, .body = "only GET and HEAD are answered\n"};
  const std::string_view path = target.substr(0, target.find('?'));
  try {
    if (path == "/healthz") return {.body = "ok\n"};
    if (path == "/in-use") return in_use(catalog);
  } catch (const std::exception& error) {
    return {.status = 500, .body = std::string(error.what()) + '\n'};
  }
  return {.status = 404, .body = "there are /healthz and /in-use\n"};
}

}  // namespace vmpack::http
