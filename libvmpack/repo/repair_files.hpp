// SPDX-License-Identifier: Apache-2.0
// The part of repair that brings back small files: manifests, roots of maps and file tables, notes.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// The digest that such a file is named by; nullopt for other keys.
[[nodiscard]] std::optional<Digest> digest_of_key(std::string_view key);

/// Replaces those of `damaged`, and those that are missing, by what `from` (which may be null: then by
/// nothing) has under their names, and adds their keys to `mended`. `dry_run`: only that. Throws kIo.
void mend_small_files(const Repository& repository, const Repository* from, bool dry_run,
                      const std::set<std::string>& damaged, std::set<std::string>& mended);

}  // namespace vmpack
