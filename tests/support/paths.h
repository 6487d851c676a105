#pragma once

#include <filesystem>
#include <string>

namespace mla::test {

/// The repository's root folder.
std::filesystem::path source_dir();
/// tests/golden/<relative>.
std::filesystem::path golden(const std::string& relative);
/// A file of the reading room (`../shared` beside the repository, or the folder that MLA_SHARED names); empty when it is not
/// there, so that a test skips with a message.
std::filesystem::path shared_file(const std::string& relative);
/// All bytes of a file. Throws when it cannot be read.
std::string read_file(const std::filesystem::path& path);
/// A fresh empty folder below the system's temporary folder, removed when the process ends.
std::filesystem::path temp_dir(const std::string& name);

}  // namespace mla::test

/// Declares `path` for a file of the reading room, or skips the test.
#define MLA_SHARED_FILE_OR_SKIP(variable, relative)                                         \
  const std::filesystem::path variable = mla::test::shared_file(relative);                  \
  if (variable.empty()) GTEST_SKIP() << "needs ../shared/" << (relative) << " beside the repository"
