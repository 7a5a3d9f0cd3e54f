// SPDX-License-Identifier: Apache-2.0
#include "tests/ingest/model_place.hpp"

#include <array>

#include "libvmpack/base/error.hpp"
#include "libvmpack/store/s3/s3_store.hpp"
#include "tests/support/memory_store.hpp"

namespace vmpack::test {
namespace {

class MemoryPlace final : public ModelPlace {
 public:
  [[nodiscard]] std::shared_ptr<Store> store() const override { return store_; }
  void pass(std::int64_t seconds) override { store_->pass(seconds); }
  void disturb(Random&) override {}
  void calm() override {}

 private:
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
};

constexpr std::array<std::string_view, 5> kConditions{"heeded", "bare", "single", "ignored", "refused"};
/// Requests of an ingest of the model, about.
constexpr std::uint64_t kRequests = 120;

OrderedJson choose_fault(Random& random) {
  const auto count = static_cast<int>(1 + random.below(2));
  OrderedJson fault;
  switch (random.below(6)) {
    case 0:
      fault = s3_status(500, "InternalError", count);
      break;
    case 1:
      fault = s3_status(503, "SlowDown", count);
      break;
    case 2:
      fault = s3_fault("reset", {{"count", count}});
      break;
    case 3:
      fault = s3_fault("truncate", {{"count", count}, {"method", "GET"}});
      break;
    default:
      fault = s3_fault("lost_reply", {{"count", count}});
      if (random.below(2) == 0) fault["method"] = random.below(3) == 0 ? "DELETE" : "PUT";
  }
  fault["skip"] = random.below(fault.contains("method") ? kRequests / 4 : kRequests);
  return fault;
}

class S3Place final : public ModelPlace {
 public:
  S3Place(const S3Stub& stub, std::uint64_t number) : stub_(stub) {
    stub_.set_conditions(kConditions[number % kConditions.size()]);
    S3Settings settings = stub_.settings("model-" + std::to_string(number));
    settings.retry.attempts_max = 12;
    store_ = open_s3_store(std::move(settings));
  }
  ~S3Place() override {
    try {
      stub_.fail({});
      stub_.empty();
    } catch (const Error&) {
      // Whatever uses the stub next will say so.
    }
  }

  [[nodiscard]] std::shared_ptr<Store> store() const override { return store_; }
  void pass(std::int64_t seconds) override { stub_.pass(seconds); }
  void disturb(Random& random) override {
    std::vector<OrderedJson> faults;
    for (std::uint64_t count = 1 + random.below(4); count > 0; --count)
      faults.push_back(choose_fault(random));
    stub_.fail(faults);
  }
  void calm() override { stub_.fail({}); }

 private:
  const S3Stub& stub_;
  std::shared_ptr<Store> store_;
};

}  // namespace

std::unique_ptr<ModelPlace> make_memory_place() { return std::make_unique<MemoryPlace>(); }

std::unique_ptr<ModelPlace> make_s3_place(const S3Stub& stub, std::uint64_t number) {
  return std::make_unique<S3Place>(stub, number);
}

}  // namespace vmpack::test
