// SPDX-License-Identifier: Apache-2.0
// vmpack init: makes an empty repository.
#include <ostream>

#include "libvmpack/store/store.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {
namespace {

struct InitOptions : CommonOptions {
  std::string location;
};

int init(const InitOptions& options, const Context& context) {
  const std::shared_ptr<Store> store = open_store(options.location, true);
  Repository::init(*store, RepositoryParameters{});
  const auto repository = Repository::open(store);
  if (options.json) {
    context.out << dump_json({{"repository", store->location()}, {"id", repository->id()}}) << '\n';
  } else if (!options.quiet) {
    context.out << "made an empty repository in " << store->location() << '\n';
  }
  return kDone;
}

}  // namespace

void add_init(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("init", "Make an empty repository");
  const auto options = std::make_shared<InitOptions>();
  command->add_option("REPO", options->location, "A new or empty folder, or s3://BUCKET/PREFIX")->required();
  add_common_options(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return init(*options, context); }; });
}

}  // namespace vmpack::cli
