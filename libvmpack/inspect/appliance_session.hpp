// SPDX-License-Identifier: Apache-2.0
// One libguestfs appliance at work on an image: it reads the volumes that this host cannot read itself, and
// then finds operating systems and packages.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/inspect/os_facts.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// The appliance runs in a child process of its own (the helper that links libguestfs: this library does
/// not). Call ask_for(), complete() and facts() once each, in this order; leave out what is not wanted from
/// the end. Not for use by two threads at once.
class ApplianceSession {
 public:
  struct Facts {
    OsFacts facts;
    std::string failure;  ///< for people; empty when it worked
  };

  /// Starts the helper and returns at once. What `source` leads to must outlive the session; `sector_bytes`
  /// is what the appliance is told of the disk: 512 or 4096. Never throws: what fails (helper or libguestfs
  /// missing, no appliance) shows in complete() and facts().
  static std::unique_ptr<ApplianceSession> start(const SourceAttachment& source, std::uint64_t sector_bytes,
                                                 std::chrono::seconds time_max);

  ApplianceSession(const ApplianceSession&) = delete;
  ApplianceSession& operator=(const ApplianceSession&) = delete;
  /// Ends the helper and its appliance if they still run.
  virtual ~ApplianceSession() = default;

  /// Tells which volumes to read: those of `layout` that need_appliance(). Returns at once.
  virtual void ask_for(const Layout& layout) = 0;

  /// Blocks until the volumes that were asked for are read, or the time is over; returns at once where there
  /// are none. Of `layout`, which must be the same as before, they get files and free space; logical volumes
  /// are added at its end. What could not be read stays opaque, with a warning (also sent to `progress`).
  virtual void complete(Layout& layout, Progress& progress) = 0;

  /// Blocks until the helper is done or the time is over.
  [[nodiscard]] virtual Facts facts() = 0;

 protected:
  ApplianceSession() = default;
};

}  // namespace vmpack
