// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/handshake.hpp"

#include <fmt/format.h>
#include <spdlog/logger.h>

#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack::nbd {
namespace {

/// Of a name that does not exist, in messages.
constexpr std::size_t kNameBytesShown = 200;

Handshake::Answer refuse(Option option, OptionReply reply, std::string_view message) {
  Handshake::Answer answer;
  append_option_error(answer.reply, option, reply, message);
  return answer;
}

Handshake::Answer acknowledge(Option option, Handshake::Next next = Handshake::Next::kOption) {
  Handshake::Answer answer;
  append_option_reply(answer.reply, option, OptionReply::kAck);
  answer.next = next;
  return answer;
}

}  // namespace

Handshake::Handshake(ExportCatalog& catalog, const Policy& policy, spdlog::logger& log, Client client)
    : catalog_(catalog), policy_(policy), log_(log), client_(std::move(client)) {}

bool Handshake::accept_client_flags(std::uint32_t flags) {
  constexpr std::uint32_t kKnown = kFixedNewstyle | kNoZeroes;
  fixed_newstyle_ = (flags & kFixedNewstyle) != 0;
  zeroes_ = (flags & kNoZeroes) == 0;
  return (flags & ~kKnown) == 0;
}

Handshake::Answer Handshake::answer(Option option, ByteView data) {
  // Without fixed newstyle a client knows one option, and could not read a reply to any other.
  if (!fixed_newstyle_ && option != Option::kExportName) return {{}, Next::kClose};
  if (needs_tls() && option == Option::kExportName) return {{}, Next::kClose};
  if (needs_tls() && option != Option::kStartTls && option != Option::kAbort)
    return refuse(option, OptionReply::kErrorTlsRequired, "start TLS first");
  try {
    return answer_known(option, data);
  } catch (const Error& error) {
    // Not about the export that was named: open() has answered for those.
    log_.error("{}: {}", client_.peer, error.what());
    return refuse(option, OptionReply::kErrorPolicy, "the server could not answer; its log says why");
  }
}

Handshake::Answer Handshake::answer_oversized(Option option) const {
  if (!fixed_newstyle_ || option == Option::kExportName) return {{}, Next::kClose};
  if (option == Option::kAbort) return acknowledge(option, Next::kClose);
  if (needs_tls() && option != Option::kStartTls)
    return refuse(option, OptionReply::kErrorTlsRequired, "start TLS first");
  return refuse(option, OptionReply::kErrorTooBig,
                fmt::format("more than {} of option data", format_bytes(kOptionBytesMax)));
}

Handshake::Answer Handshake::answer_stopping(Option option) const {
  if (!fixed_newstyle_ || option == Option::kExportName) return {{}, Next::kClose};
  if (option == Option::kAbort) return acknowledge(option, Next::kClose);
  Answer answer = refuse(option, OptionReply::kErrorShutdown, "the server is being stopped");
  answer.next = Next::kClose;
  return answer;
}

Handshake::Answer Handshake::answer_known(Option option, ByteView data) {
  switch (option) {
    case Option::kExportName:
      return export_name(data);
    case Option::kAbort:
      return acknowledge(option, Next::kClose);
    case Option::kList:
      return list(data);
    case Option::kInfo:
    case Option::kGo:
      return info_or_go(option, data);
    case Option::kStructuredReply:
      return structured_reply(data);
    case Option::kListMetaContext:
    case Option::kSetMetaContext:
      return meta_context(option, data);
    case Option::kStartTls:
      return start_tls(data);
  }
  return refuse(option, OptionReply::kErrorUnsupported, "unknown option");
}

Handshake::Answer Handshake::export_name(ByteView data) {
  if (data.size() > kNameBytesMax || !open(as_text(data)).empty()) return {{}, Next::kClose};
  agree();
  Answer answer{{}, Next::kTransmission};
  append_export_name_answer(answer.reply, last_.image->size(), transmission_flags(), zeroes_);
  return answer;
}

Handshake::Answer Handshake::list(ByteView data) {
  constexpr Option kOption = Option::kList;
  if (!data.empty()) return refuse(kOption, OptionReply::kErrorInvalid, "this option takes no data");
  const auto listings = catalog_.list(kExportsListedMax);
  if (listings.size() == kExportsListedMax) {
    log_.warn("{}: the list of exports was cut at {}", client_.peer, format_count(kExportsListedMax));
  }
  Answer answer;
  for (const auto& listing : listings) {
    if (policy_.access.may_open(client_, listing.name))
      append_server_reply(answer.reply, kOption, listing.name, listing.description);
  }
  append_option_reply(answer.reply, kOption, OptionReply::kAck);
  return answer;
}

Handshake::Answer Handshake::info_or_go(Option option, ByteView data) {
  const auto request = decode_info_request(data);
  if (!request) return refuse(option, OptionReply::kErrorInvalid, "malformed option");
  if (const auto fault = open(request->name); !fault.empty())
    return refuse(option, OptionReply::kErrorUnknown, fault);
  Answer answer;
  append_info_export(answer.reply, option, last_.image->size(), transmission_flags());
  if (request->wants_name) append_info_text(answer.reply, option, Info::kName, last_.name);
  if (request->wants_description)
    append_info_text(answer.reply, option, Info::kDescription, last_.description);
  if (request->wants_block_size) append_info_block_size(answer.reply, option);
  append_option_reply(answer.reply, option, OptionReply::kAck);
  if (option == Option::kGo) {
    agree();
    answer.next = Next::kTransmission;
  }
  return answer;
}

Handshake::Answer Handshake::structured_reply(ByteView data) {
  if (!data.empty())
    return refuse(Option::kStructuredReply, OptionReply::kErrorInvalid, "this option takes no data");
  structured_ = true;
  return acknowledge(Option::kStructuredReply);
}

Handshake::Answer Handshake::start_tls(ByteView data) const {
  constexpr Option kOption = Option::kStartTls;
  if (!policy_.tls) return refuse(kOption, OptionReply::kErrorUnsupported, "this server has no TLS");
  if (policy_.nbd_tls == TlsMode::kOff)
    return refuse(kOption, OptionReply::kErrorPolicy, "this server has TLS for HTTP alone");
  if (has_tls_) return refuse(kOption, OptionReply::kErrorInvalid, "TLS was started before");
  if (!data.empty()) return refuse(kOption, OptionReply::kErrorInvalid, "this option takes no data");
  return acknowledge(kOption, Next::kTls);
}

void Handshake::begin_tls(Client client) {
  has_tls_ = true;
  client_ = std::move(client);
  structured_ = false;
  status_selected_ = false;
  last_ = {};
}

Handshake::Answer Handshake::meta_context(Option option, ByteView data) {
  const bool listing = option == Option::kListMetaContext;
  if (!listing) status_selected_ = false;  // the protocol: a request that fails unselects as well
  if (!structured_) return refuse(option, OptionReply::kErrorInvalid, "negotiate structured replies first");
  const auto [request, fault] = decode_meta_context_request(data);
  if (!request && fault == MetaContextFault::kTooMany) {
    return refuse(option, OptionReply::kErrorTooBig, fmt::format("more than {} queries", kQueriesMax));
  }
  if (!request) return refuse(option, OptionReply::kErrorInvalid, "malformed option");
  if (const auto text = open(request->name); !text.empty())
    return refuse(option, OptionReply::kErrorUnknown, text);

  bool selected = listing && request->queries.empty();
  for (const auto query : request->queries) selected |= selects_allocation(query, listing);
  Answer answer;
  // A listed context's id means nothing, and is zero.
  if (selected)
    append_meta_context(answer.reply, option, listing ? 0 : kAllocationContextId, kAllocationContext);
  append_option_reply(answer.reply, option, OptionReply::kAck);
  if (!listing) {
    status_selected_ = selected;
    status_name_ = request->name;
  }
  return answer;
}

std::string Handshake::open(std::string_view name) {
  if (last_.image && last_name_ == name) return {};
  last_ = {};
  try {
    if (!name.empty()) check_access(name);
    Export opened = catalog_.open(name);
    check_access(opened.name);
    last_ = std::move(opened);
    last_name_ = name;
    return {};
  } catch (const Error& error) {
    const bool unknown = error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kInvalid;
    const std::string shown = printable(name.substr(0, kNameBytesShown));
    log_.log(unknown ? spdlog::level::info : spdlog::level::err, "{}: cannot open export \"{}\": {}",
             client_.peer, shown, error.what());
    return unknown ? fmt::format("there is no export \"{}\"", shown)
                   : "the export cannot be opened; the server's log says why";
  }
}

void Handshake::check_access(std::string_view name) const {
  if (policy_.access.may_open(client_, name)) return;
  throw Error(ErrorCode::kNotFound, "no access rule lets the client open it");
}

void Handshake::agree() {
  agreement_.exported = last_;
  agreement_.structured = structured_;
  agreement_.block_status = status_selected_ && status_name_ == last_name_;
}

std::uint16_t Handshake::transmission_flags() const {
  std::uint16_t flags = kHasFlags | kReadOnly | kSendCache;
  if (structured_) flags |= kSendDontFragment;
  // A tag may move between two connections, and then they would show two different images.
  if (last_.by_digest) flags |= kCanMultiConn;
  return flags;
}

}  // namespace vmpack::nbd
