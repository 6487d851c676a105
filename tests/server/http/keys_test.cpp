#include "server/http/keys.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace mla::http {
namespace {

using testing::HasSubstr;
using testing::Not;

class KeyFile : public testing::Test {
 protected:
  Result<KeyRing> read(const std::string& text, mode_t mode = 0600) {
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return KeyRing::read(path);
  }
  std::string error(const std::string& text, mode_t mode = 0600) {
    const Result<KeyRing> ring = read(text, mode);
    return ring.ok() ? "" : ring.error().message;
  }
  void TearDown() override { std::filesystem::remove(path); }

  const std::string path = testing::TempDir() + "keys-" + std::to_string(::getpid());
};

TEST_F(KeyFile, HasNamesAdminsAndComments) {
  const auto ring = read(
      "# our keys\n\nalice:0123456789abcdef-alice\r\nops:admin:0123456789abcdef-ops\n  0123456789abcdef-none "
      " \n");
  ASSERT_TRUE(ring.ok()) << ring.error().message;
  ASSERT_EQ(ring->size(), 3u);
  ASSERT_NE(ring->find("0123456789abcdef-alice"), nullptr);
  EXPECT_EQ(ring->find("0123456789abcdef-alice")->name, "alice");
  EXPECT_FALSE(ring->find("0123456789abcdef-alice")->admin);
  EXPECT_EQ(ring->find("0123456789abcdef-ops")->name, "ops");
  EXPECT_TRUE(ring->find("0123456789abcdef-ops")->admin);
  EXPECT_EQ(ring->find("0123456789abcdef-none")->name, "key-5");
  for (const char* wrong : {"", "0123456789abcdef-alic", "0123456789abcdef-alice ", "0123456789abcdef-alicE",
                            "alice", "# our keys"}) {
    EXPECT_EQ(ring->find(wrong), nullptr) << wrong;
  }
}

TEST_F(KeyFile, SaysWhatIsWrongWithoutRepeatingAKey) {
  const std::string short_key = error("alice:0123456789abcdef\nbob:hunter2hunter2\n");
  EXPECT_THAT(short_key, HasSubstr("line 2"));
  EXPECT_THAT(short_key, HasSubstr("openssl rand"));
  EXPECT_THAT(short_key, Not(HasSubstr("hunter2")));
  EXPECT_THAT(error("a:0123456789abcdef0\nb:0123456789abcdef0\n"), HasSubstr("same key"));
  EXPECT_THAT(error("a:0123456789abcdef0\na:0123456789abcdef1\n"), HasSubstr("two keys"));
  EXPECT_THAT(error("a:b:0123456789abcdef0\n"), HasSubstr("name:admin:key"));
  EXPECT_THAT(error("a b:0123456789abcdef0\n"), HasSubstr("name"));
  EXPECT_THAT(error("a:0123456789 abcdef0\n"), HasSubstr("visible ASCII"));
  EXPECT_THAT(error("# nothing\n"), HasSubstr("no key"));
  EXPECT_THAT(error(""), HasSubstr("no key"));
  EXPECT_FALSE(KeyRing::read(path + "-missing").ok());
}

TEST_F(KeyFile, IsRefusedWhenOthersMayReadIt) {
  for (const mode_t mode : {0644, 0604, 0602, 0660, 0666})
    EXPECT_THAT(error("a:0123456789abcdef0\n", mode), HasSubstr("chmod 600")) << mode;
  for (const mode_t mode : {0600, 0400, 0640, 0440})
    EXPECT_EQ(error("a:0123456789abcdef0\n", mode), "") << mode;
}

/// A byte that counts how often it is compared.
struct CountedByte {
  uint8_t value = 0;
  static inline size_t comparisons = 0;
};
unsigned operator^(CountedByte a, CountedByte b) {
  ++CountedByte::comparisons;
  return static_cast<unsigned>(a.value ^ b.value);
}

// HT 16: not with a clock, whose noise hides what it looks for, but by counting: the work is the same
// wherever the first difference is and whichever key matches.
TEST(Keys, AComparisonTakesTheSameWorkWhateverIsPresented) {
  using Digest = std::array<CountedByte, 32>;
  constexpr size_t kKeys = 7;
  std::vector<Digest> digests(kKeys);
  for (size_t k = 0; k < kKeys; ++k) {
    for (size_t b = 0; b < 32; ++b) digests[k][b].value = static_cast<uint8_t>(31 * k + b);
  }
  const auto find = [&](const Digest& wanted) {
    CountedByte::comparisons = 0;
    const size_t found = find_in_constant_time(std::span<const Digest>(digests), wanted);
    EXPECT_EQ(CountedByte::comparisons, kKeys * 32);
    return found;
  };
  for (size_t k = 0; k < kKeys; ++k) {
    EXPECT_EQ(find(digests[k]), k);
    for (size_t b = 0; b < 32; ++b) {
      for (const int bit : {0, 7}) {
        Digest near = digests[k];
        near[b].value = static_cast<uint8_t>(near[b].value ^ (1 << bit));
        EXPECT_EQ(find(near), kKeys) << "key " << k << ", byte " << b;
      }
    }
  }
}

TEST(Keys, NamesAndKeysAreChecked) {
  KeyRing ring;
  EXPECT_TRUE(ring.add("a", "one").ok());
  EXPECT_FALSE(ring.add("a", "two").ok());
  EXPECT_FALSE(ring.add("b", "one").ok());
  EXPECT_FALSE(ring.add("", "three").ok());
  EXPECT_FALSE(ring.add(std::string(65, 'n'), "three").ok());
  EXPECT_FALSE(ring.add("line\nbreak", "three").ok());
  EXPECT_FALSE(ring.add("c", "").ok());
  EXPECT_FALSE(ring.add("c", "with blank").ok());
  EXPECT_EQ(ring.size(), 1u);
  EXPECT_EQ(KeyRing().find("anything"), nullptr);
}

}  // namespace
}  // namespace mla::http
