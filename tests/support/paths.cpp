#include "support/paths.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

namespace mla::test {
namespace fs = std::filesystem;

fs::path source_dir() { return MLA_SOURCE_DIR; }

fs::path golden(const std::string& relative) { return source_dir() / "tests" / "golden" / relative; }

fs::path shared_file(const std::string& relative) {
  const char* named = std::getenv("MLA_SHARED");
  const fs::path root = named != nullptr ? fs::path(named) : source_dir().parent_path() / "shared";
  const fs::path file = root / relative;
  return fs::exists(file) ? file : fs::path();
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

fs::path temp_dir(const std::string& name) {
  struct Cleaner {
    std::vector<fs::path> folders;
    ~Cleaner() {
      std::error_code ignored;
      for (const fs::path& f : folders) fs::remove_all(f, ignored);
    }
  };
  static Cleaner cleaner;
  const fs::path folder = fs::temp_directory_path() / ("mla-test-" + std::to_string(getpid()) + "-" +
                                                       std::to_string(cleaner.folders.size()) + "-" + name);
  fs::create_directories(folder);
  cleaner.folders.push_back(folder);
  return folder;
}

}  // namespace mla::test
