// SPDX-License-Identifier: Apache-2.0
// Giving up, for good, what serving needs no rights for: changing files, making them, starting programs. What
// a client might make the server do, it then still cannot do (docs/serving.md).
#pragma once

#include <string>
#include <vector>

namespace vmpack {

struct SandboxNeeds {
  std::vector<std::string>
      writable_folders;  ///< may hold new files, changed and removed ones: the cache on disk
  std::vector<std::string> removable_folders;  ///< files in them may be removed: those of sockets
  std::string ready_folder;  ///< files may be made until restrict_calls(), and removed; empty: there is none
  bool network = false;      ///< new connections are made: the store is no folder
};

/// Becomes the user `name` and its groups. Nothing happens when the process is that user. Throws kNotFound,
/// kRefused when it may not. For the only thread there is.
void become_user(const std::string& name);

/// Files: by Landlock, for this thread and those it starts: before there are others. False: this kernel has
/// no Landlock. Reading stays free: certificates and the file of settings may be read again.
[[nodiscard]] bool restrict_files(const SandboxNeeds& needs);

/// System calls: by seccomp, for all threads. `files_restricted` is what restrict_files() said: where it said
/// false, nothing is removed any more, and only a server with writable folders may change files. False: this
/// kernel has no seccomp.
[[nodiscard]] bool restrict_calls(const SandboxNeeds& needs, bool files_restricted);

}  // namespace vmpack
