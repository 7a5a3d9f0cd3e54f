// SPDX-License-Identifier: Apache-2.0
// What HTTP shows besides the exports themselves. Whoever owns these outlives all connections.
#pragma once

#include <memory>

#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/store/disk_cache.hpp"
#include "server/http/catalog.hpp"

namespace vmpack::http {

struct Site {
  Site(std::shared_ptr<const Repository> of, std::shared_ptr<const FrameCache> frames,
       std::shared_ptr<const DiskCache> copies = nullptr)
      : repository(std::move(of)),
        cache(std::move(frames)),
        disk_cache(std::move(copies)),
        catalog(repository) {}

  const std::shared_ptr<const Repository> repository;
  const std::shared_ptr<const FrameCache> cache;
  const std::shared_ptr<const DiskCache> disk_cache;  ///< null: none
  Catalog catalog;
};

}  // namespace vmpack::http
