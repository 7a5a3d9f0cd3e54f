// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/unpacked_source.hpp"

#include <utility>

namespace vmpack {
namespace {

class UnpackedSource final : public Source {
 public:
  UnpackedSource(TempImage file, std::unique_ptr<Source> served, std::unique_ptr<Source> direct)
      : file_(std::move(file)),
        served_(std::move(served)),
        direct_(std::move(direct)),
        reader_(direct_ ? *direct_ : *served_) {}

  std::uint64_t size() const override { return reader_.size(); }
  void read(std::uint64_t offset, ByteSpan into) override { reader_.read(offset, into); }
  std::vector<ByteRange> data_ranges(std::uint64_t offset, std::uint64_t length) override {
    return reader_.data_ranges(offset, length);
  }
  const SourceFacts& facts() const override { return reader_.facts(); }
  SourceAttachment attachment() const override { return served_->attachment(); }
  int raw_descriptor() const override { return reader_.raw_descriptor(); }

 private:
  TempImage file_;
  std::unique_ptr<Source> served_;
  std::unique_ptr<Source> direct_;
  Source& reader_;
};

}  // namespace

std::unique_ptr<Source> make_unpacked_source(TempImage file, std::unique_ptr<Source> served,
                                             std::unique_ptr<Source> direct) {
  return std::make_unique<UnpackedSource>(std::move(file), std::move(served), std::move(direct));
}

}  // namespace vmpack
