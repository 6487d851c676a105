#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/command.h"
#include "support/paths.h"

namespace mla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using test::CommandResult;
using Json = nlohmann::json;
namespace fs = std::filesystem;

CommandResult mla(const std::vector<std::string>& arguments) {
  return test::run_command(MLA_COMMAND, arguments, {});
}

/// What is wrong with an XML document, as far as tags, attributes' quotes and bare characters go; empty when it is well formed.
std::string xml_fault(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; at < xml.size();) {
    if (xml[at] != '<') {
      if (xml[at] == '&' && xml.find(';', at) > at + 6) return "a bare & at " + std::to_string(at);
      ++at;
      continue;
    }
    const size_t end = xml.find('>', at);
    if (end == std::string::npos) return "a tag without end at " + std::to_string(at);
    const std::string tag = xml.substr(at + 1, end - at - 1);
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0 || tag.find('<') != std::string::npos) return "bad attributes in <" + tag + ">";
    const std::string name = tag.substr(tag[0] == '/' ? 1 : 0, tag.find_first_of(" \n/", 1) - (tag[0] == '/' ? 1 : 0));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "<" + tag + "> closes nothing";
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    at = end + 1;
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

std::vector<std::string> tiny(std::vector<std::string> more) {
  std::vector<std::string> all = {"bench", "compare", "--dims", "tiny-mla-lite", "--quant", "Q8_0", "--depth", "64,200", "--threads", "1",
                                  "--tokens", "2", "--repetitions", "2"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Json document_of(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = tiny(more);
  arguments.emplace_back("--json");
  const CommandResult r = mla(arguments);
  EXPECT_EQ(r.exit_code, 0) << r.err;
  return Json::parse(r.out, nullptr, false);
}

TEST(XmlFault, FindsFaults) {
  EXPECT_EQ(xml_fault("<a x=\"1\"><b/>t &amp; u</a>"), "");
  for (const char* bad : {"<a>", "<a></b>", "<a x=\"1></a>", "<a>&</a>", "</a>", "<a"}) EXPECT_NE(xml_fault(bad), "") << bad;
}

// tiny-mla-lite: 3 layers, 4 heads, values of 32, latents of 64 + 16, in bf16.
TEST(BenchCompare, MeasuresFourDecodersWithTheCachesOfTheArithmetic) {
  const Json document = document_of({"--batch", "1,3", "--memory", "8MiB"});
  EXPECT_EQ(document["benchmark"], "compare");
  EXPECT_EQ(document["memory_bytes"], 8 << 20);
  const std::map<std::string, int64_t> token_bytes = {
      {"MHA", 3 * 4 * 64 * 2}, {"GQA-2", 3 * 2 * 64 * 2}, {"MQA", 3 * 64 * 2}, {"MLA", 3 * (64 + 16) * 2}};
  std::map<std::string, int64_t> weights;
  ASSERT_EQ(document["decoders"].size(), 4U);
  for (const Json& d : document["decoders"]) {
    EXPECT_EQ(d["cache_bytes_per_token"], token_bytes.at(d["attention"])) << d;
    EXPECT_EQ(d["d_ff"], document["decoders"][0]["d_ff"]);
    EXPECT_EQ(d["architecture"], d["attention"] == "MLA" ? "deepseek2" : "llama");
    weights[d["attention"]] = d["weight_bytes"];
  }
  ASSERT_EQ(document["results"].size(), 4U * 2 * 2);
  for (const Json& r : document["results"]) {
    SCOPED_TRACE(r.dump());
    const int64_t depth = r["depth"], batch = r["batch"], row = token_bytes.at(r["attention"]);
    EXPECT_EQ(r["cache_bytes"], row * depth * batch);
    ASSERT_EQ(r["seconds"].size(), 2U);
    const double fastest = std::min(r["seconds"][0].get<double>(), r["seconds"][1].get<double>());
    EXPECT_NEAR(r["tok_per_s"].get<double>(), 2.0 * static_cast<double>(batch) / fastest, 1e-6 * r["tok_per_s"].get<double>());
    EXPECT_GT(r["speedup_over_mha"].get<double>(), 0.0);
    // Whole pages of 64 rows: one more sequence would not fit.
    const int64_t largest = r["largest_batch"], sequence = (depth + 63) / 64 * 64 * row, room = (8 << 20) - weights.at(r["attention"]);
    EXPECT_LE(largest * sequence, room);
    EXPECT_GT((largest + 1) * sequence, room);
  }
}

TEST(BenchCompare, CanGiveAllTheSameNumberOfParameters) {
  const Json equal = document_of({"--same-parameters"}), plain = document_of({});
  EXPECT_EQ(equal["same"], "parameters");
  EXPECT_EQ(plain["same"], "feed-forward");
  const auto spread = [](const Json& document) {
    double least = 1e300, most = 0;
    for (const Json& d : document["decoders"]) {
      least = std::min(least, d["parameters"].get<double>());
      most = std::max(most, d["parameters"].get<double>());
    }
    return most / least;
  };
  EXPECT_LT(spread(equal), 1.08) << "a tiny model's feed-forward grows in coarse steps";
  EXPECT_LT(spread(equal), spread(plain));
}

TEST(BenchCompare, PrintsTablesAndSaysWhatIsComputed) {
  const CommandResult r = mla(tiny({}));
  EXPECT_EQ(r.exit_code, 0) << r.err;
  for (const char* part : {"MHA", "GQA-2", "MQA", "MLA", "parameters", "over MHA", "largest batch in 16.0 GiB, computed", "a dense feed-forward"})
    EXPECT_THAT(r.out, HasSubstr(part));
}

TEST(BenchCompare, PrintsCommaSeparatedValues) {
  const CommandResult r = mla(tiny({"--csv", "--memory", "2MiB", "--batch", "1,100000"}));
  EXPECT_EQ(r.exit_code, 0) << r.err;
  std::istringstream lines(r.out);
  std::string header, line;
  std::getline(lines, header);
  EXPECT_THAT(header, StartsWith("attention,depth,batch,largest_batch,tok_per_s"));
  int n = 0;
  while (std::getline(lines, line)) {
    EXPECT_EQ(std::count(header.begin(), header.end(), ','), std::count(line.begin(), line.end(), ',')) << line;
    ++n;
  }
  EXPECT_EQ(n, 4 * 2) << "what does not fit is no line";
  EXPECT_THAT(r.err, HasSubstr("does not fit into 2.00 MiB (--memory)"));
}

TEST(BenchCompare, SaysWhatItLeavesOut) {
  const Json document = document_of({"--batch", "1,100000", "--memory", "8MiB"});
  ASSERT_EQ(document["results"].size(), 16U);
  for (const Json& r : document["results"]) {
    EXPECT_EQ(r.contains("skipped"), r["batch"] == 100000) << r;
    EXPECT_EQ(r.contains("tok_per_s"), r["batch"] == 1) << r;
  }
  const Json slow = document_of({"--max-seconds", "1e-9"});
  EXPECT_THAT(slow["results"][1]["skipped"].get<std::string>(), HasSubstr("--max-seconds"));
  const Json deep = document_of({"--depth", "4095"});
  ASSERT_EQ(deep["results"].size(), 12U) << "beside the depths of all these tests";
  for (const Json& r : deep["results"]) {
    EXPECT_EQ(r.contains("skipped"), r["depth"] == 4095) << r;
    EXPECT_THAT(r.value("skipped", "context of this shape ends at 4096"), HasSubstr("context of this shape ends at 4096"));
  }
}

TEST(BenchCompare, RefusesWhatCannotBeCompared) {
  const CommandResult llama = mla({"bench", "compare", "--dims", "llama-3-8b"});
  EXPECT_EQ(llama.exit_code, 2);
  EXPECT_THAT(llama.err, HasSubstr("no latent attention"));
  EXPECT_EQ(mla({"bench", "compare", "--dims", "nobody"}).exit_code, 2);
  EXPECT_EQ(mla(tiny({"--cache", "int9"})).exit_code, 2);
  EXPECT_EQ(mla(tiny({"--quant", "Q9"})).exit_code, 2);
  EXPECT_EQ(mla(tiny({"--memory", "much"})).exit_code, 2);
  EXPECT_EQ(mla(tiny({"--memory", "18446744073709551615"})).exit_code, 2);
  EXPECT_EQ(mla(tiny({"--depth", "0"})).exit_code, 2);
  EXPECT_EQ(mla(tiny({"--tokens", "0"})).exit_code, 2);
  EXPECT_EQ(mla(tiny({"--plot", "/nonexistent/a.svg"})).exit_code, 4);
  const CommandResult small = mla(tiny({"--memory", "100kB"}));
  EXPECT_EQ(small.exit_code, 2);
  EXPECT_THAT(small.err, HasSubstr("the weights of the decoder with MHA take"));
}

TEST(BenchCompare, DrawsTheSamePictureFromItsSavedResults) {
  const fs::path folder = test::temp_dir("bench-compare");
  const fs::path measured = folder / "measured.svg", saved = folder / "saved.json", drawn = folder / "drawn.svg";
  const CommandResult r = mla(tiny({"--json", "--plot", measured.string()}));
  ASSERT_EQ(r.exit_code, 0) << r.err;
  std::ofstream(saved) << r.out;
  const CommandResult again = mla({"bench", "compare", "--from", saved.string(), "--plot", drawn.string()});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("largest batch in 16.0 GiB"));
  const std::string svg = test::read_file(measured);
  EXPECT_EQ(svg, test::read_file(drawn));
  EXPECT_THAT(svg, StartsWith("<svg"));
  EXPECT_EQ(xml_fault(svg), "");
  EXPECT_EQ(count_of(svg, "<polyline"), 8U) << "four lines in each of two panels";
  for (const char* name : {"MHA", "GQA-2", "MQA", "MLA"}) EXPECT_EQ(count_of(svg, std::string(">") + name + "<"), 4U) << "outlined, in both panels";
  EXPECT_THAT(svg, HasSubstr("Largest batch in 16.0 GiB (computed)"));
  EXPECT_EQ(mla({"bench", "compare", "--from", saved.string(), "--json"}).out, r.out);
}

TEST(BenchDocument, IsCheckedBeforeItIsDrawn) {
  const fs::path folder = test::temp_dir("bench-document"), file = folder / "results.json", picture = folder / "picture.svg";
  const Json good = document_of({});
  const auto exit_code = [&](const std::string& text) {
    std::ofstream(file) << text;
    return mla({"bench", "compare", "--from", file.string(), "--plot", picture.string()}).exit_code;
  };
  EXPECT_EQ(exit_code(good.dump()), 0);
  fs::remove(picture);
  const auto changed = [&](const char* pointer, const Json& value) {
    Json document = good;
    document[Json::json_pointer(pointer)] = value;
    return exit_code(document.dump());
  };
  EXPECT_EQ(exit_code(""), 3);
  EXPECT_EQ(exit_code("[1, 2]"), 3);
  EXPECT_EQ(exit_code("{}"), 3);
  EXPECT_EQ(changed("/benchmark", "attention"), 3);
  EXPECT_EQ(changed("/results", 7), 3);
  EXPECT_EQ(changed("/results/0", nullptr), 3);
  EXPECT_EQ(changed("/results/0/tok_per_s", "fast"), 3);
  EXPECT_EQ(changed("/results/0/depth", 0.5), 3);
  EXPECT_EQ(changed("/decoders/0/parameters", 1e300), 3);
  EXPECT_EQ(changed("/memory_bytes", nullptr), 3);
  EXPECT_FALSE(fs::exists(picture));
  EXPECT_EQ(changed("/results/0/tok_per_s", -1), 0) << "a logarithmic axis has no place for it, the others are drawn";
  EXPECT_EQ(changed("/results", Json::array()), 0);
  EXPECT_EQ(changed("/processor", "<&\">\x1b[2J"), 0);
  EXPECT_EQ(xml_fault(test::read_file(picture)), "");
  EXPECT_THAT(test::read_file(picture), Not(HasSubstr("\x1b")));
  EXPECT_EQ(mla({"bench", "compare", "--from", (folder / "nothing.json").string()}).exit_code, 3);
}

TEST(BenchDocument, OfAttentionIsDrawnAgainToo) {
  const fs::path folder = test::temp_dir("bench-attention"), saved = folder / "saved.json", measured = folder / "measured.svg", drawn = folder / "drawn.svg";
  const CommandResult r = mla({"bench", "attention", "--dims", "deepseek-v2-lite", "--depth", "64,128", "--threads", "1", "--json", "--plot", measured.string()});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  std::ofstream(saved) << r.out;
  const CommandResult again = mla({"bench", "attention", "--from", saved.string(), "--plot", drawn.string()});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("MLA expanded"));
  EXPECT_EQ(test::read_file(measured), test::read_file(drawn));
  EXPECT_EQ(xml_fault(test::read_file(drawn)), "");
  const CommandResult other = mla({"bench", "compare", "--from", saved.string()});
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_THAT(other.err, HasSubstr("results of `mla bench attention`"));
}

// The pictures in the README are those of the committed results.
TEST(BenchDocument, CommittedResultsMakeTheCommittedPictures) {
  const fs::path drawn = test::temp_dir("committed-pictures") / "drawn.svg";
  for (const fs::directory_entry& entry : fs::directory_iterator(test::source_dir() / "bench" / "results")) {
    if (entry.path().extension() != ".svg") continue;
    SCOPED_TRACE(entry.path().filename().string());
    const fs::path saved = fs::path(entry.path()).replace_extension(".json");
    const Json document = Json::parse(test::read_file(saved), nullptr, false);
    ASSERT_TRUE(document.contains("benchmark")) << "no results beside the picture";
    const CommandResult r = mla({"bench", document["benchmark"].get<std::string>(), "--from", saved.string(), "--plot", drawn.string()});
    EXPECT_EQ(r.exit_code, 0) << r.err;
    EXPECT_TRUE(test::read_file(drawn) == test::read_file(entry.path())) << "bench/results/README.md says how to draw it again";
    fs::remove(drawn);
  }
}

}  // namespace
}  // namespace mla
