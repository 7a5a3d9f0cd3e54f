// SPDX-License-Identifier: Apache-2.0
#include "server/http/pages.hpp"

#include <fmt/format.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <utility>

#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/json.hpp"
#include "server/console/page.hpp"

namespace vmpack::http {
namespace {

constexpr std::string_view kTextType = "text/plain; charset=utf-8";
constexpr std::string_view kJsonType = "application/json";
constexpr std::string_view kForEver = "max-age=31536000, immutable";
/// Kept, but asked about each time: what it is may change, and who may see it as well.
constexpr std::string_view kRevalidated = "no-cache";
constexpr std::string_view kNotKept = "no-store";
constexpr std::string_view kRepositoryKey = "vmpack.json";

std::string quoted_hash(std::string_view text) {
  return fmt::format("\"{:016x}\"", xxh3(as_byte_view(text)));
}

/// One answer in the making.
class Answering {
 public:
  Answering(const Request& request, const Visitor& visitor, const Sources& sources, const LiveFacts& live)
      : request_(request), visitor_(visitor), sources_(sources), live_(live) {}

  Answer run(const Target& target) const {
    if (request_.method == Method::kOther) {
      Answer refused = error_answer(405, "only GET and HEAD are answered");
      refused.fields.emplace_back("Allow", "GET, HEAD");
      return refused;
    }
    if (request_.has_body) return error_answer(413, "no request with a body is answered");
    switch (target.kind) {
      case Kind::kHealth:
        return text(kTextType, "ok\n");
      case Kind::kReady:
        return ready();
      case Kind::kInUse:
        return in_use();
      default:
        break;
    }
    if (live_.stopping && target.kind != Kind::kMetrics)
      return error_answer(503, "the server is being stopped");
    return run_for_visitor(target);
  }

 private:
  Answer run_for_visitor(const Target& target) const {
    switch (target.kind) {
      case Kind::kPage:
        return page();
      case Kind::kMetrics:
        return for_operators([this] {
          return text("text/plain; version=0.0.4; charset=utf-8", sources_.metrics.text(metrics_now()));
        });
      case Kind::kConnections:
        return for_operators([this] { return connections(); });
      case Kind::kStatus:
        return for_operators([this] { return status(); });
      case Kind::kStored:
        return for_operators([&] { return stored(target.name); });
      case Kind::kCatalog:
        return catalog();
      case Kind::kEntry:
        return entry(target.name);
      case Kind::kImage:
        return image(target.name);
      default:
        return not_found();
    }
  }

  /// A small text that is true only now.
  Answer text(std::string_view type, std::string body) const {
    return text_answer(request_, type, std::move(body), {}, kNotKept);
  }
  /// One that may be kept, and is the same as long as its bytes are.
  Answer revalidated_json(std::string body) const {
    std::string etag = quoted_hash(body);
    return text_answer(request_, kJsonType, std::move(body), {.etag = std::move(etag), .last_modified = {}},
                       kept(kRevalidated));
  }
  Answer json(const OrderedJson& facts) const { return text(kJsonType, dump_json_line(facts) + '\n'); }

  /// Not in a cache that many share, unless it is for everybody.
  [[nodiscard]] std::string kept(std::string_view how) const {
    return fmt::format("{}, {}", visitor_.access.empty() ? "public" : "private", how);
  }

  static Answer not_found() { return error_answer(404, "there is no such thing here"); }

  /// A client that could show a token is asked for it; any other learns nothing.
  Answer denied(Answer otherwise) const {
    if (!visitor_.may_show_token) return otherwise;
    Answer asked = error_answer(401, "show a token");
    asked.fields.emplace_back("WWW-Authenticate", R"(Basic realm="vmserve")");
    asked.fields.emplace_back("WWW-Authenticate", R"(Bearer realm="vmserve")");
    return asked;
  }

  template <typename Make>
  Answer for_operators(Make make) const {
    if (visitor_.access.may_open_everything(visitor_.client)) return make();
    return denied(error_answer(403, "only for clients that may open everything"));
  }

  // ---- the server ----

  Answer ready() const {
    if (live_.stopping) return error_answer(503, "the server is being stopped");
    try {
      if (sources_.site.repository->store().stat(kRepositoryKey)) return text(kTextType, "ready\n");
    } catch (const Error& error) {
      sources_.log.error("the repository cannot be reached: {}", error.what());
    }
    return error_answer(503, "the repository cannot be reached");
  }

  Answer in_use() const {
    OrderedJson snapshots = OrderedJson::array();
    for (const SnapshotDigest& snapshot : sources_.exports.in_use()) snapshots.push_back(snapshot.hex());
    return text(kJsonType, dump_json({{"snapshots", std::move(snapshots)}}) + '\n');
  }

  [[nodiscard]] std::uint64_t open_connections(Protocol protocol) const {
    return static_cast<std::uint64_t>(
        std::ranges::count(live_.connections, protocol, &ConnectionFacts::protocol));
  }

  [[nodiscard]] MetricsNow metrics_now() const {
    const DiskCache* const copies = sources_.site.disk_cache.get();
    return {.cache = sources_.site.cache->statistics(),
            .disk_cache = copies != nullptr ? std::optional(copies->statistics()) : std::nullopt,
            .nbd_connections = open_connections(Protocol::kNbd),
            .http_connections = open_connections(Protocol::kHttp),
            .stopping = live_.stopping};
  }

  static OrderedJson traffic_json(const Traffic& traffic) {
    return {{"requests", traffic.requests}, {"bytes", traffic.bytes_sent}, {"failures", traffic.failures}};
  }

  Answer connections() const {
    OrderedJson all = OrderedJson::array();
    const auto now = std::chrono::steady_clock::now();
    for (const ConnectionFacts& one : live_.connections) {
      OrderedJson row = {{"protocol", to_string(one.protocol)}, {"peer", one.client.peer}};
      for (const auto& [kind, name] :
           {std::pair("certificate", &one.client.certificate), std::pair("psk", &one.client.psk),
            std::pair("token", &one.client.token)}) {
        if (!name->empty()) row[kind] = *name;
      }
      row["reference"] = one.reference;
      row["seconds"] = std::chrono::duration<double>(now - one.since).count();
      row.update(traffic_json(one.traffic));
      all.push_back(std::move(row));
    }
    return json({{"connections", std::move(all)}});
  }

  Answer status() const {
    const auto cache = sources_.site.cache->statistics();
    const auto totals = sources_.site.catalog.view()->totals;
    OrderedJson references = OrderedJson::array();
    for (const auto& [reference, traffic] : sources_.metrics.references()) {
      OrderedJson row = {{"reference", reference}};
      row.update(traffic_json(traffic));
      references.push_back(std::move(row));
    }
    return json({{"version", VMPACK_VERSION},
                 {"seconds", sources_.metrics.uptime().count()},
                 {"repository",
                  {{"location", sources_.site.repository->store().location()},
                   {"references", totals.references},
                   {"snapshots", totals.snapshots},
                   {"image_bytes", totals.image_bytes},
                   {"data_bytes", totals.data_bytes},
                   {"stored_bytes", totals.stored_bytes}}},
                 {"connections",
                  {{"nbd", open_connections(Protocol::kNbd)}, {"http", open_connections(Protocol::kHttp)}}},
                 {"traffic",
                  {{"nbd", traffic_json(sources_.metrics.traffic(Protocol::kNbd))},
                   {"http", traffic_json(sources_.metrics.traffic(Protocol::kHttp))}}},
                 {"cache",
                  {{"hits", cache.hits},
                   {"misses", cache.misses},
                   {"evictions", cache.evictions},
                   {"bytes", cache.bytes},
                   {"bytes_max", cache.bytes_max}}},
                 {"damage", sources_.metrics.damage()},
                 {"references", std::move(references)}});
  }

  Answer page() const {
    Answer made = text_answer(request_, "text/html; charset=utf-8", std::string(console_page()),
                              {.etag = console_etag(), .last_modified = {}}, kRevalidated);
    made.fields.emplace_back("Content-Security-Policy", console_policy());
    made.fields.emplace_back("Referrer-Policy", "no-referrer");
    return made;
  }

  // ---- the repository ----

  Answer catalog() const {
    const auto view = sources_.site.catalog.view();
    std::string body = R"({"references":[)";
    bool first = true;
    for (const CatalogRow& row : view->rows) {
      if (!visitor_.access.may_open(visitor_.client, row.reference)) continue;
      if (!std::exchange(first, false)) body += ",\n";
      body += row.json;
    }
    body += fmt::format("],\"complete\":{}}}\n", view->complete);
    // Nobody without a token sees an empty list where there is something to be seen.
    if (first && !view->rows.empty() && visitor_.may_show_token) return denied(not_found());
    return revalidated_json(std::move(body));
  }

  Answer entry(const std::string& name) const {
    if (!visitor_.access.may_open(visitor_.client, name)) return denied(not_found());
    return revalidated_json(sources_.site.catalog.entry(name));
  }

  Answer image(const std::string& name) const {
    if (name.empty()) return not_found();
    if (!visitor_.access.may_open(visitor_.client, name)) return denied(not_found());
    const Export exported = sources_.exports.open(name);
    Resource image{.content = image_content(exported.image),
                   .validators = {.etag = fmt::format("\"{}\"", exported.snapshot.hex()),
                                  .last_modified = http_date(exported.modified_seconds)},
                   .cache_control = kept(exported.by_digest ? kForEver : kRevalidated),
                   .reference = exported.name,
                   .fixed = exported.by_digest};
    return resource_answer(request_, std::make_shared<const Resource>(std::move(image)));
  }

  Answer stored(const std::string& key) const {
    Store& store = sources_.site.repository->store();
    const auto stat = store.stat(key);
    if (!stat) return not_found();
    const StoredKey described = describe_stored_key(key);
    const bool fixed = !described.etag.empty();
    Resource value{.content = stored_content(store, key, stat->bytes,
                                             fixed ? std::nullopt : std::optional(stat->version)),
                   .validators = {.etag = fixed ? described.etag : quoted_hash(stat->version.token),
                                  .last_modified = http_date(stat->modified_seconds)},
                   .content_type = described.content_type,
                   .cache_control = kept(fixed ? kForEver : kRevalidated),
                   .reference = {},
                   .fixed = fixed};
    return resource_answer(request_, std::make_shared<const Resource>(std::move(value)));
  }

  const Request& request_;
  const Visitor& visitor_;
  const Sources& sources_;
  const LiveFacts& live_;
};

Answer failed(const Request& request, const Visitor& visitor, const Sources& sources, const Error& error) {
  if (error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kInvalid)
    return error_answer(404, "there is no such thing here");
  sources.log.error("{}: cannot answer {}: {}", visitor.client.peer, printable(request.path), error.what());
  return error_answer(500, "it cannot be read; the server's log says why");
}

}  // namespace

bool needs_live_facts(Kind kind) {
  return kind == Kind::kMetrics || kind == Kind::kConnections || kind == Kind::kStatus;
}

bool is_large(Kind kind) {
  return kind == Kind::kCatalog || kind == Kind::kEntry || kind == Kind::kConnections;
}

Answer answer(const Request& request, const Target& target, const Visitor& visitor, const Sources& sources,
              const LiveFacts& live) {
  try {
    return Answering(request, visitor, sources, live).run(target);
  } catch (const Error& error) {
    return failed(request, visitor, sources, error);
  } catch (const std::exception& error) {
    sources.log.error("{}: cannot answer {}: {}", visitor.client.peer, printable(request.path), error.what());
    return error_answer(500, "it cannot be answered; the server's log says why");
  }
}

}  // namespace vmpack::http
