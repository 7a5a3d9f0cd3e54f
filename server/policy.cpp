// SPDX-License-Identifier: Apache-2.0
#include "server/policy.hpp"

namespace vmpack {
namespace {

ClientCertificates wanted_of_clients(const TlsSettings& tls, const AccessRules& access) {
  if (tls.verify_clients) return ClientCertificates::kRequired;
  return access.names_certificates() ? ClientCertificates::kWelcome : ClientCertificates::kNotAsked;
}

}  // namespace

PolicyPtr make_policy(const Settings& settings) {
  auto policy = std::make_shared<Policy>();
  policy->limits = settings.limits;
  policy->nbd_tls = settings.tls.nbd;
  policy->https = settings.tls.http;
  policy->access = AccessRules(settings.access);
  policy->tokens = Tokens(settings.tokens);
  if (policy->nbd_tls != TlsMode::kOff || policy->https) {
    policy->tls = std::make_shared<TlsServer>(settings.tls, wanted_of_clients(settings.tls, policy->access));
  }
  return policy;
}

}  // namespace vmpack
