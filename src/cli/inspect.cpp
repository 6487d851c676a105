#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/load.h"
#include "cli/terminal.h"
#include "engine/capacity.h"

namespace mla::cli {
namespace {

struct InspectOptions {
  ModelOptions model;
  bool tensors = false;
  bool metadata = false;
};

/// The shortest decimal that stands for the float: 1e-06 and not 9.999999974752427e-07.
double decimal(float x) { return std::stod(fmt::format("{}", x)); }

Json config_json(const Config& c) {
  Json j = {{"architecture", c.architecture}, {"name", c.name}, {"n_vocab", c.n_vocab}, {"n_layers", c.n_layers},
            {"d_model", c.d_model}, {"n_context", c.n_context}, {"norm_eps", decimal(c.norm_eps)}, {"tied_head", c.tied_head},
            {"attention", c.attention == AttentionKind::kMla ? "mla" : "gqa"}, {"n_heads", c.n_heads}, {"n_kv_heads", c.n_kv_heads}};
  if (c.attention == AttentionKind::kMla) {
    j["q_rank"] = c.q_rank;
    j["kv_rank"] = c.kv_rank;
    j["d_nope"] = c.d_nope;
    j["d_rope"] = c.d_rope;
    j["d_v"] = c.d_v;
  } else {
    j["d_head"] = c.d_head;
    j["d_rope"] = c.d_rope;
  }
  j["attention_scale"] = decimal(c.attention_scale);
  j["rope_theta"] = decimal(c.rope.theta);
  j["d_ff"] = c.d_ff;
  if (c.has_experts()) {
    j["n_dense_layers"] = c.n_dense_layers;
    j["n_experts"] = c.router.n_experts;
    j["n_experts_used"] = c.router.n_experts_used;
    j["d_expert"] = c.d_expert;
    j["n_shared_experts"] = c.n_shared_experts;
    j["n_groups"] = c.router.n_groups;
    j["n_groups_used"] = c.router.n_groups_used;
    j["router_scale"] = decimal(c.router.scale);
    j["router_score"] = c.router.score == RouterScore::kSigmoid ? "sigmoid" : "softmax";
  }
  return j;
}

/// Bytes of cache per token in every format, and how long a context fits beside the weights in this machine's memory.
Json memory_plan(const Config& c, uint64_t weight_bytes) {
  Json plan;
  plan["weights_bytes"] = weight_bytes;
  const int64_t available = available_memory().value_or(0);
  plan["available_bytes"] = available;
  const int64_t left = std::max<int64_t>(0, available - static_cast<int64_t>(weight_bytes));
  for (const RowFormatInfo& info : row_formats()) {
    const RowFormat format = info.format;
    const int64_t per_token = c.n_layers * c.row_layout(format).row_bytes();
    // As a hostile file states them, the two can multiply to more than 64 bits hold.
    const int64_t full = (Checked<int64_t>(per_token) * c.n_context).value_or(std::numeric_limits<int64_t>::max());
    plan["cache"][std::string(row_format_name(format))] = {
        {"bytes_per_token", per_token}, {"bytes_full_context", full}, {"tokens_that_fit", left / per_token}};
  }
  return plan;
}

std::map<std::string, std::pair<int64_t, uint64_t>> tensors_by_type(const Checkpoint& checkpoint) {
  std::map<std::string, std::pair<int64_t, uint64_t>> types;
  for (const TensorView& t : checkpoint.tensors) {
    auto& [count, bytes] = types[std::string(dtype_info(t.dtype).name)];
    ++count;
    bytes += static_cast<uint64_t>(t.n_bytes());
  }
  return types;
}

struct ValueText {
  std::string operator()(std::monostate) const { return "null"; }
  std::string operator()(bool v) const { return v ? "true" : "false"; }
  std::string operator()(int64_t v) const { return std::to_string(v); }
  std::string operator()(uint64_t v) const { return std::to_string(v); }
  std::string operator()(double v) const { return fmt::format("{:g}", v); }
  std::string operator()(const std::string& v) const {
    std::string shown = v.substr(0, 60);
    if (v.size() > 60) shown.resize(valid_utf8_prefix(shown));  // not the half of a character
    std::replace(shown.begin(), shown.end(), '\n', ' ');
    return v.size() > 60 ? fmt::format("{}... ({} bytes)", shown, v.size()) : shown;
  }
  template <typename T>
  std::string operator()(const std::vector<T>& v) const { return fmt::format("[{} values]", v.size()); }
};

std::string plan_text(const Json& plan, int64_t n_context) {
  std::string text = fmt::format("memory plan\n  weights    {}\n", human_bytes(plan["weights_bytes"].get<double>()));
  for (const auto& [format, row] : plan["cache"].items()) {
    text += fmt::format("  cache {:<5}{} bytes/token, {} for the whole context of {} tokens; at most {} tokens fit in this machine's memory\n",
                        format, grouped(row["bytes_per_token"].get<int64_t>()), human_bytes(row["bytes_full_context"].get<double>()),
                        grouped(n_context), grouped(row["tokens_that_fit"].get<int64_t>()));
  }
  return text;
}

Status print_json(const Checkpoint& checkpoint, const Config& config, const Json& plan) {
  Json document = {{"path", checkpoint.path.string()},
                   {"format", checkpoint.format == CheckpointFormat::kGguf ? "gguf" : "huggingface"},
                   {"config", config_json(config)}, {"memory", plan}, {"tensors", Json::array()}};
  for (const TensorView& t : checkpoint.tensors) {
    document["tensors"].push_back({{"name", t.name}, {"dtype", dtype_info(t.dtype).name}, {"shape", t.shape}, {"bytes", t.n_bytes()}});
  }
  return write_json(document);
}

Status inspect(const InspectOptions& o) {
  MLA_ASSIGN(const OpenedModel opened, open_model(o.model));
  const auto& [path, checkpoint, config] = opened;
  const Json plan = memory_plan(config, checkpoint->tensor_bytes());
  if (terminal_options().json) return print_json(*checkpoint, config, plan);

  std::string text = fmt::format("{}\nformat     {}, {} file{}\n\nconfiguration\n", path.string(),
                                 checkpoint->format == CheckpointFormat::kGguf ? "GGUF" : "Hugging Face", checkpoint->files.size(),
                                 checkpoint->files.size() == 1 ? "" : "s");
  const Json settings = config_json(config);
  for (const auto& [key, value] : settings.items()) {
    text += fmt::format("  {:<18} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  int64_t n_parameters = 0;
  for (const TensorView& t : checkpoint->tensors) n_parameters += t.n_elements();
  text += fmt::format("\ntensors    {} with {} elements, {}\n", checkpoint->tensors.size(), grouped(n_parameters),
                      human_bytes(static_cast<double>(checkpoint->tensor_bytes())));
  for (const auto& [type, sums] : tensors_by_type(*checkpoint)) {
    text += fmt::format("  {:<8} {:>6} tensors  {}\n", type, sums.first, human_bytes(static_cast<double>(sums.second)));
  }
  if (o.tensors) {
    for (const TensorView& t : checkpoint->tensors) {
      text += fmt::format("  {:<44} {:<8} {:<20} {}\n", t.name, dtype_info(t.dtype).name, shape_string(t.shape),
                          human_bytes(static_cast<double>(t.n_bytes())));
    }
  }
  if (o.metadata) {
    text += "\nmetadata\n";
    for (const auto& [key, value] : checkpoint->metadata.entries()) text += fmt::format("  {:<44} {}\n", key, std::visit(ValueText{}, value));
  }
  return write_stdout(printable(text + "\n" + plan_text(plan, config.n_context)));
}

}  // namespace

Command add_inspect(CLI::App& root) {
  auto o = std::make_shared<InspectOptions>();
  CLI::App* app = add_subcommand(root, "inspect", "A checkpoint's configuration, tensors and memory plan",
                                 {"mla inspect", "mla inspect -m model.gguf --tensors", "mla inspect -m folder/ --json"});
  add_model_option(*app, o->model);
  app->add_flag("--tensors", o->tensors, "List every tensor");
  app->add_flag("--metadata", o->metadata, "List the file's metadata");
  app->add_flag("--json", terminal_options().json, "Print JSON (with every tensor)");
  return {app, [o] { return inspect(*o); }};
}

}  // namespace mla::cli
