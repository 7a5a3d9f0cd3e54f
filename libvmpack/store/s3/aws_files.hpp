// SPDX-License-Identifier: Apache-2.0
// The files that AWS's own tools keep their settings in (~/.aws/config, ~/.aws/credentials): sections of
// "name = value" lines.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace vmpack {

/// Of one section. What is indented below "s3 =" is called "s3.name".
using AwsValues = std::map<std::string, std::string, std::less<>>;

/// By the section's name as it stands in the file: "default", "profile ci", "services local".
using AwsSections = std::map<std::string, AwsValues, std::less<>>;

/// Lines that are neither a section, a value, a comment nor empty are passed over, as AWS's tools do.
[[nodiscard]] AwsSections parse_aws_file(std::string_view text);

/// Empty when the file is not there. Throws system_error, and kLimit for a file over 1 MiB.
[[nodiscard]] AwsSections read_aws_file(const std::string& path);

/// nullptr when it is not there.
[[nodiscard]] const AwsValues* find_section(const AwsSections& sections, std::string_view name);

/// nullopt when it is not there or empty.
[[nodiscard]] std::optional<std::string> find_value(const AwsValues* section, std::string_view name);

}  // namespace vmpack
