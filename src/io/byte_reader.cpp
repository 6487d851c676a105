#include "io/byte_reader.h"

#include <fmt/format.h>

namespace mla {

Error ByteReader::truncated(std::string_view what, uint64_t needed) const {
  return Error::invalid_file(
      fmt::format("{} at byte {} needs {} bytes, but the file ends after {}: it is damaged or was "
                  "not downloaded completely",
                  what, position_, needed, remaining()));
}

}  // namespace mla
