#include <fmt/format.h>

#include "server/api/api.h"

namespace mla::server {
namespace {

/// Text that stands in a page as text.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

constexpr const char* kPage = R"(<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>mla</title></head>
<body>
<h1>mla {version}</h1>
<p>Serving <b>{model}</b> to clients of OpenAI's API: the base URL ends with <code>/v1</code>.</p>
<ul>
<li><code>POST /v1/chat/completions</code>, <code>/v1/completions</code>, <code>/v1/embeddings</code></li>
<li><code>GET /v1/models</code></li>
<li><code>POST /tokenize</code>, <code>/detokenize</code></li>
<li><a href="readyz">readyz</a>, <a href="livez">livez</a>, <a href="metrics">metrics</a>, <a href="version">version</a></li>
</ul>
</body>
</html>
)";

}  // namespace

void Api::home(Request, ReplyPtr reply) {
  http::Response page{.body = fmt::format(fmt::runtime(kPage), fmt::arg("version", escaped(options_.version)),
                                          fmt::arg("model", escaped(options_.model_name))),
                      .content_type = "text/html; charset=utf-8"};
  page.headers = {{"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"}, {"Referrer-Policy", "no-referrer"}};
  reply->send(std::move(page));
}

}  // namespace mla::server
