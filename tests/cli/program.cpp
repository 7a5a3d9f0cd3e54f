// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/program.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/sealed_json.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"

namespace vmpack::test {

CommandResult vmpack(std::vector<std::string> arguments, const CommandOptions& options) {
  arguments.insert(arguments.begin(), program("VMPACK"));
  return run_command(arguments, options);
}

std::string vmpack_done(const std::vector<std::string>& arguments, const CommandOptions& options) {
  CommandResult result = vmpack(arguments, options);
  INFO("vmpack " << fmt::format("{}", fmt::join(arguments, " ")) << "\n" << result.out << result.err);
  REQUIRE(result.exit_code == 0);
  return std::move(result.out);
}

OrderedJson vmpack_json(std::vector<std::string> arguments, const CommandOptions& options) {
  arguments.emplace_back("--json");
  return OrderedJson::parse(vmpack_done(arguments, options));
}

void require_one_line(const CommandResult& result, int exit_code, const std::vector<std::string>& words) {
  INFO("exit code " << result.exit_code << "\nstdout: " << result.out << "\nstderr: " << result.err);
  REQUIRE(result.exit_code == exit_code);
  REQUIRE(result.out.empty());
  REQUIRE(result.err.starts_with("vmpack: "));
  REQUIRE(result.err.ends_with('\n'));
  REQUIRE(std::ranges::count(result.err, '\n') == 1);
  for (const std::string& word : words) {
    INFO("expected: " << word);
    REQUIRE(result.err.find(word) != std::string::npos);
  }
}

std::string memory_folder() {
  const std::string shared = "/dev/shm";
  const bool usable = std::filesystem::is_directory(shared) && ::access(shared.c_str(), W_OK) == 0;
  return usable ? shared : std::filesystem::temp_directory_path().string();
}

SampleRepository::SampleRepository() : SampleRepository(std::filesystem::temp_directory_path().string()) {}

SampleRepository::SampleRepository(const std::string& parent) : folder_(parent) {
  vmpack_done({"init", path()});
}

CommandResult SampleRepository::try_ingest(const std::string& image, const std::string& reference,
                                           const std::vector<std::string>& more) const {
  std::vector<std::string> arguments{"ingest", image, reference, "--no-os", "--repo", path()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return vmpack(arguments);
}

OrderedJson SampleRepository::ingest(const std::string& image, const std::string& reference,
                                     const std::vector<std::string>& more) const {
  std::vector<std::string> arguments{"--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const CommandResult result = try_ingest(image, reference, arguments);
  INFO("ingest " << image << ": " << result.out << result.err);
  REQUIRE(result.exit_code == 0);
  return OrderedJson::parse(result.out);
}

void SampleRepository::restore(const std::string& reference, const std::string& out) const {
  vmpack_done({"restore", reference, out, "--force", "--repo", path()});
}

CommandResult SampleRepository::verify(const std::vector<std::string>& more) const {
  std::vector<std::string> arguments{"verify", "--repo", path()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return vmpack(arguments);
}

void SampleRepository::require_intact() const {
  const CommandResult result = verify();
  INFO(result.out << result.err);
  REQUIRE(result.exit_code == 0);
}

void SampleRepository::require_round_trip(const std::string& image, const std::string& raw,
                                          const std::vector<std::string>& more) const {
  INFO("round trip of " << image);
  const std::string reference = "trip:" + std::filesystem::path(image).filename().string();
  const OrderedJson facts = ingest(image, reference, more);
  const std::string restored = folder_ / "restored";
  restore(reference, restored);
  REQUIRE(sha256_of(restored) == sha256_of(raw));
  REQUIRE(facts.at("image_bytes") == std::filesystem::file_size(raw));
  std::filesystem::remove(restored);
}

std::vector<std::pair<std::string, Bytes>> SampleRepository::contents() const {
  std::vector<std::pair<std::string, Bytes>> contents;
  for (const std::string& key : files_below(path())) {
    if (!key.starts_with("tmp/")) contents.emplace_back(key, read_file(path() + "/" + key));
  }
  return contents;
}

void use_small_packs(const SampleRepository& repository, std::uint32_t frame_bytes) {
  const std::string path = repository.path() + "/vmpack.json";
  OrderedJson json = OrderedJson::parse(as_text(read_file(path)));
  json.erase("xxh3");
  json["parameters"]["pack_bytes_target"] = 1024 * 1024;
  if (frame_bytes != 0) json["parameters"]["frame_bytes_target"] = frame_bytes;
  write_file(path, seal_json(dump_json(json)));
}

}  // namespace vmpack::test
