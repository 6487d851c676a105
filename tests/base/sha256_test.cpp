#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace mla {
namespace {

TEST(Sha256, AgreesWithThePublishedVectors) {
  // FIPS 180-4's examples and NIST's short messages.
  EXPECT_EQ(to_hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(to_hex(sha256("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqkl"
                          "mnopqrlmnopqrsmnopqrstnopqrstu")),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(to_hex(sha256("\xbd")), "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b");
  EXPECT_EQ(to_hex(sha256(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Digests of n times 'a' around the lengths where padding takes another block (Python's hashlib).
TEST(Sha256, PadsEveryLengthAroundABlock) {
  const std::pair<size_t, const char*> cases[] = {
      {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
      {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
      {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
      {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
      {65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
      {119, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb"},
      {120, "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c"},
      {128, "6836cf13bac400e9105071cd6af47084dfacad4e5e302c94bfed24e013afb73e"}};
  for (const auto& [n, expected] : cases) EXPECT_EQ(to_hex(sha256(std::string(n, 'a'))), expected) << n;
}

TEST(Sha256, DoesNotDependOnHowTheBytesArrive) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 37);
  for (const size_t step : {1u, 3u, 63u, 64u, 65u, 127u, 200u}) {
    Sha256 hash;
    for (size_t at = 0; at < text.size(); at += step)
      hash.update(std::string_view(text).substr(at, step)).update("");
    EXPECT_EQ(hash.finish(), sha256(text)) << step;
    EXPECT_EQ(hash.finish(), sha256("")) << "a finished hash begins anew";
  }
}

TEST(Sha256, ACopyContinuesFromWhereItWasMade) {
  Sha256 prefix;
  prefix.update("the same beginning ");
  Sha256 one = prefix, two = prefix;
  EXPECT_EQ(one.update("one").finish(), sha256("the same beginning one"));
  EXPECT_EQ(two.update("two").finish(), sha256("the same beginning two"));
}

}  // namespace
}  // namespace mla
