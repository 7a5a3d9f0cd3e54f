// SPDX-License-Identifier: Apache-2.0
// An appliance that knows from the start what a real one takes its time for.
#pragma once

#include "libvmpack/inspect/appliance_session.hpp"

namespace vmpack::test {

class FakeAppliance final : public ApplianceSession {
 public:
  explicit FakeAppliance(Layout found) : found_(std::move(found)) {}
  void ask_for(const Layout&) override {}
  void complete(Layout& layout, Progress&) override { layout = found_; }
  Facts facts() override { return {}; }

 private:
  Layout found_;
};

}  // namespace vmpack::test
