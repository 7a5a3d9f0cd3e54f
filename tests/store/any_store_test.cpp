// SPDX-License-Identifier: Apache-2.0
// The contract of all stores on a real one: $VMPACK_TEST_LOCATION names it, as --repo would. What the tests
// put there lies below a folder of their own, and is removed again.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "tests/store/store_contract.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

/// A location below the one that is tested, for one section alone.
class EmptyPlace {
 public:
  explicit EmptyPlace(std::string location) : location_(std::move(location)) {
    static std::uint64_t count = 0;
    const auto now = static_cast<std::uint64_t>(open_store(location_, true)->now());
    const std::string name = "/contract-" + std::to_string(now) + "-" + std::to_string(count++);
    location_.insert(std::min(location_.find('?'), location_.size()), name);
  }
  ~EmptyPlace() {
    const auto store = open();
    store->list("", [&](const std::string& key, std::uint64_t) { store->remove(key); });
  }
  EmptyPlace(const EmptyPlace&) = delete;
  EmptyPlace& operator=(const EmptyPlace&) = delete;

  [[nodiscard]] std::unique_ptr<Store> open() const { return open_store(location_, true); }

 private:
  std::string location_;
};

}  // namespace

TEST_CASE("a real store keeps the contract of all stores") {
  const char* location = std::getenv("VMPACK_TEST_LOCATION");
  if (location == nullptr) {
    WARN("VMPACK_TEST_LOCATION names no store to test");
    return;
  }
  const EmptyPlace place(location);
  check_store_contract([&] { return place.open(); });
}
