// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/qcow2_sink.hpp"

#include "libvmpack/source/qcow2_writer.hpp"

namespace vmpack {
namespace {

class Qcow2Sink final : public ImageSink {
 public:
  Qcow2Sink(std::unique_ptr<PendingFile> file, std::uint64_t image_bytes, bool compress)
      : file_(std::move(file)), writer_(file_->temporary(), image_bytes, compress) {}

  void write(std::uint64_t offset, ByteView bytes) override { writer_.write(offset, bytes); }
  void finish() override {
    writer_.finish();
    file_->publish();
  }

 private:
  std::unique_ptr<PendingFile> file_;
  Qcow2Writer writer_;
};

}  // namespace

std::unique_ptr<ImageSink> open_qcow2_sink(const std::string& path, std::uint64_t image_bytes, bool replace,
                                           bool compress) {
  return std::make_unique<Qcow2Sink>(std::make_unique<PendingFile>(path, replace), image_bytes, compress);
}

}  // namespace vmpack
