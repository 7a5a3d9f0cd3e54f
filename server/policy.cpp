// SPDX-License-Identifier: Apache-2.0
#include "server/policy.hpp"

namespace vmpack {

PolicyPtr make_policy(const Settings& settings) {
  auto policy = std::make_shared<Policy>();
  policy->limits = settings.limits;
  policy->nbd_tls = settings.tls.nbd;
  policy->https = settings.tls.http;
  policy->access = AccessRules(settings.access);
  policy->tokens = Tokens(settings.tokens);
  return policy;
}

}  // namespace vmpack
