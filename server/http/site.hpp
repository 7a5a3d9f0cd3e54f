// SPDX-License-Identifier: Apache-2.0
// What HTTP shows besides the exports themselves. Whoever owns these outlives all connections.
#pragma once

#include <memory>

#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/repo/repository.hpp"
#include "server/http/catalog.hpp"

namespace vmpack::http {

struct Site {
  Site(std::shared_ptr<const Repository> of, std::shared_ptr<const FrameCache> frames)
      : repository(std::move(of)), cache(std::move(frames)), catalog(repository) {}

  const std::shared_ptr<const Repository> repository;
  const std::shared_ptr<const FrameCache> cache;
  Catalog catalog;
};

}  // namespace vmpack::http
