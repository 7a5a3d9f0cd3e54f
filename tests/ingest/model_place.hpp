// SPDX-License-Identifier: Apache-2.0
// Where the machines of a model meet: a store whose clock the model moves.
#pragma once

#include <memory>

#include "libvmpack/store/store.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/s3_stub.hpp"

namespace vmpack::test {

class ModelPlace {
 public:
  ModelPlace() = default;
  ModelPlace(const ModelPlace&) = delete;
  ModelPlace& operator=(const ModelPlace&) = delete;
  virtual ~ModelPlace() = default;

  /// What all machines share, and nothing befalls.
  [[nodiscard]] virtual std::shared_ptr<Store> store() const = 0;
  /// Moves the store's clock.
  virtual void pass(std::int64_t seconds) = 0;
  /// Some of the requests that follow go wrong, in ways that a store must not let anybody feel.
  virtual void disturb(Random& random) = 0;
  /// None does any more.
  virtual void calm() = 0;
};

/// In memory, where nothing goes wrong by itself.
[[nodiscard]] std::unique_ptr<ModelPlace> make_memory_place();

/// A folder of the bucket of `stub`, which is emptied when the place goes. With or without conditional puts:
/// `number` decides.
[[nodiscard]] std::unique_ptr<ModelPlace> make_s3_place(const S3Stub& stub, std::uint64_t number);

}  // namespace vmpack::test
