// SPDX-License-Identifier: Apache-2.0
// The child that parses, from its parent's side: starts it without privileges, serves it the image, checks
// what it reports, ends it in time.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "libvmpack/inspect/inspect.hpp"
#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

/// `layout` as LayoutStreamReader::take() gives it, or, when `failure` is not empty, nothing.
struct ChildReport {
  Layout layout;
  std::string warning;  ///< of a table: what it left out
  std::string failure;  ///< for people, a clause such as "the process that reads it died (signal 11)"
};

/// One child. It reports several things one after the other; one that failed once has nothing more to say.
/// Not for use by two threads at once. Destruction ends the child.
class InspectChild {
 public:
  /// A child that reports the partition table, then every volume of it (the whole image where there is no
  /// table). `helper`: path of vmpack-inspect-helper. Throws Error when it cannot be started.
  static std::unique_ptr<InspectChild> for_image(const std::string& helper, Source& source,
                                                 const InspectOptions& options);
  /// A child that reports these volumes.
  static std::unique_ptr<InspectChild> for_volumes(const std::string& helper, Source& source,
                                                   std::span<const Volume> volumes,
                                                   const InspectOptions& options);

  ~InspectChild();
  InspectChild(const InspectChild&) = delete;
  InspectChild& operator=(const InspectChild&) = delete;

  /// The next report, which must be about `range`. Takes at most InspectOptions::child_time_max. Never throws
  /// for what the image or the child does. What Source::read throws reaches the child as an unreadable range.
  [[nodiscard]] ChildReport next(LayoutStreamReader::Expect expect, ByteRange range);

 private:
  class ImageServer;
  struct Running;
  InspectChild(const std::vector<std::string>& arguments, Source& source, const InspectOptions& options);
  void converse(LayoutStreamReader& reader);

  std::unique_ptr<Running> running_;
  std::chrono::seconds time_max_;
};

}  // namespace vmpack
