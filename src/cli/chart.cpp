#include "cli/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/terminal.h"

namespace mla::cli {
namespace {

constexpr double kPanelWidth = 570, kSinglePanelWidth = 780, kHeight = 490;
constexpr double kLeft = 72, kRight = 176, kTop = 132, kBottom = 62;
constexpr double kLabelWidth = 166, kLabelHeight = 18;
constexpr double kXTickDistance = 46, kYTickDistance = 24;
constexpr size_t kColors = 5;
constexpr size_t kMostCircles = 12;  ///< a line of more points is a curve, without circles

/// Colours are chosen to be told apart on their ground, light and dark, by people who see colours differently too: the
/// neighbours of the family differ in lightness.
constexpr const char* kStyle = R"(<style>
.page{fill:#fff;stroke:#d0d7de}.t{fill:#1f2328}.m{fill:#59636e}.g{stroke:#d8dee4}.h{stroke:#fff}
.s0{stroke:#b3261e}.s1{stroke:#c26a00}.s2{stroke:#6b7a10}.s3{stroke:#0b63c5}.s4{stroke:#8a3ab9}
.f0{fill:#b3261e}.f1{fill:#c26a00}.f2{fill:#6b7a10}.f3{fill:#0b63c5}.f4{fill:#8a3ab9}
.h{stroke-width:5;stroke-linejoin:round}
@media(prefers-color-scheme:dark){
.page{fill:#0d1117;stroke:#3d444d}.t{fill:#f0f6fc}.m{fill:#9198a1}.g{stroke:#2a313a}.h{stroke:#0d1117}
.s0{stroke:#ff7b72}.s1{stroke:#f0a044}.s2{stroke:#b5c452}.s3{stroke:#58a6ff}.s4{stroke:#d2a8ff}
.f0{fill:#ff7b72}.f1{fill:#f0a044}.f2{fill:#b5c452}.f3{fill:#58a6ff}.f4{fill:#d2a8ff}
}
</style>
)";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '&') out += "&amp;";
    else if (c == '"') out += "&quot;";
    else out += c;
  }
  return out;
}

std::string text_at(double x, double y, const std::string& text, const std::string& style) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style, escaped(text));
}

/// A logarithmic axis.
struct Axis {
  double low = 1, high = 10;  ///< values at its ends
  double from = 0, to = 1;    ///< where they are on the page
  std::vector<double> ticks;

  double at(double value) const { return from + (to - from) * std::log(value / low) / std::log(high / low); }
};

/// Ticks that lie too close to the one before are dropped.
void thin(Axis& axis, double distance) {
  std::vector<double> kept;
  for (const double tick : axis.ticks) {
    if (kept.empty() || std::abs(axis.at(tick) - axis.at(kept.back())) >= distance) kept.push_back(tick);
  }
  axis.ticks = std::move(kept);
}

/// Ends where the data ends, ticks at the data's own values: the depths that somebody asked for.
Axis x_axis(std::vector<double> values, double from, double to) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  Axis axis{values.front(), values.back(), from, to, values};
  if (axis.low == axis.high) axis.high *= 2;
  thin(axis, kXTickDistance);
  return axis;
}

/// From the round number (1, 2 or 5 times a power of ten) below the data to the one above it; over more than three
/// decades, whole decades.
Axis y_axis(const std::vector<double>& values, double from, double to) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const bool decades = *most / *least > 1000;
  std::vector<double> rounds;
  for (double decade = std::pow(10.0, std::floor(std::log10(*least))); decade <= 10 * *most; decade *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor == 1.0 || !decades) rounds.push_back(factor * decade);
    }
  }
  constexpr double kSlack = 1e-9;
  Axis axis{.from = from, .to = to};
  const auto low = std::upper_bound(rounds.begin(), rounds.end(), *least * (1 + kSlack)) - 1;
  auto high = std::lower_bound(rounds.begin(), rounds.end(), *most * (1 - kSlack));
  if (high == low) ++high;
  axis.low = *low;
  axis.high = *high;
  axis.ticks.assign(low, high + 1);
  thin(axis, kYTickDistance);
  return axis;
}

/// "256", "4k", "64k": contexts come in powers of two.
std::string context_name(double value) {
  if (value >= 1024 && std::fmod(value, 1024) == 0) return fmt::format("{:g}k", value / 1024);
  return fmt::format("{:g}", value);
}

/// Three digits, or a whole number.
std::string number_name(double value) {
  return value < 1000 ? fmt::format("{:.3g}", value) : grouped(std::llround(value));
}

std::string grid(const Axis& x, const Axis& y, const std::vector<std::pair<double, std::string>>& names) {
  std::string out;
  const auto name_of = [&](double tick) {
    const auto named = std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.first == tick; });
    return named == names.end() ? context_name(tick) : named->second;
  };
  for (const double tick : x.ticks) {
    const double p = x.at(tick);
    out += fmt::format("<line class=\"g\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>\n", p, y.from, y.to);
    out += text_at(p, y.from + 20, name_of(tick), "class=\"m\" text-anchor=\"middle\"");
  }
  for (const double tick : y.ticks) {
    const double p = y.at(tick);
    out += fmt::format("<line class=\"g\" x1=\"{1:.1f}\" x2=\"{2:.1f}\" y1=\"{0:.1f}\" y2=\"{0:.1f}\"/>\n", p, x.from, x.to);
    out += text_at(x.from - 8, p + 5, number_name(tick), "class=\"m\" text-anchor=\"end\"");
  }
  return out;
}

/// The name of a line where it ends.
struct Label {
  double x, y;
  size_t color;
  std::string name, value;
};

/// Moves labels that would cover each other apart, within [top, bottom].
void separate(std::vector<Label>& labels, double top, double bottom) {
  std::sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
  const auto neighbours = [](const Label& a, const Label& b) { return std::abs(a.x - b.x) < kLabelWidth; };
  for (size_t i = 0; i < labels.size(); ++i) {
    labels[i].y = std::max(labels[i].y, top);
    for (size_t j = 0; j < i; ++j) {
      if (neighbours(labels[i], labels[j])) labels[i].y = std::max(labels[i].y, labels[j].y + kLabelHeight);
    }
  }
  for (size_t i = labels.size(); i-- > 0;) {
    labels[i].y = std::min(labels[i].y, bottom);
    for (size_t j = i + 1; j < labels.size(); ++j) {
      if (neighbours(labels[i], labels[j])) labels[i].y = std::min(labels[i].y, labels[j].y - kLabelHeight);
    }
  }
}

/// Text twice: first as a broad outline in the ground's colour, so that lines behind it do not disturb.
std::string draw(const Label& l) {
  const auto text = [&](const char* outer, const std::string& name, const char* value) {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}><tspan {} font-weight=\"bold\">{}</tspan><tspan {} dx=\"6\">{}</tspan></text>\n", l.x, l.y,
                       outer, name, escaped(l.name), value, l.value);
  };
  return text("class=\"h\"", "", "") + text("", fmt::format("class=\"f{}\"", l.color), "class=\"m\"");
}

std::string draw(const Panel::Line& line, size_t color, const Axis& x, const Axis& y) {
  std::string points, circles;
  for (const auto& [px, py] : line.points) {
    points += fmt::format("{:.1f},{:.1f} ", x.at(px), y.at(py));
    if (line.points.size() > kMostCircles) continue;
    circles += fmt::format("<circle class=\"f{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"/>\n", color, x.at(px), y.at(py));
  }
  points.pop_back();
  return fmt::format("<polyline class=\"s{}\" fill=\"none\" stroke-width=\"2.5\" stroke-linejoin=\"round\" points=\"{}\"/>\n{}", color,
                     points, circles);
}

std::string draw(const Panel& panel, double left, double right) {
  const double top = kTop, bottom = kHeight - kBottom, middle = (left + right) / 2;
  std::string out = text_at(left, top - 38, panel.title, "class=\"t\" font-weight=\"bold\"");
  out += text_at(left, top - 16, panel.y_label, "class=\"m\"");
  out += text_at(middle, kHeight - 20, panel.x_label, "class=\"m\" text-anchor=\"middle\"");
  std::vector<double> xs, ys;
  for (const Panel::Line& line : panel.lines) {
    for (const auto& [px, py] : line.points) {
      xs.push_back(px);
      ys.push_back(py);
    }
  }
  if (xs.empty()) return out;
  Axis x = x_axis(xs, left, right);
  const Axis y = y_axis(ys, bottom, top);
  if (!panel.x_ticks.empty()) {
    x.ticks.clear();
    for (const auto& [at, name] : panel.x_ticks) {
      if (at >= x.low && at <= x.high) x.ticks.push_back(at);
    }
  }
  out += grid(x, y, panel.x_ticks);
  std::vector<Label> labels;
  for (size_t i = 0; i < panel.lines.size(); ++i) {
    const Panel::Line& line = panel.lines[i];
    if (line.points.empty()) continue;
    const auto [px, py] = line.points.back();
    out += draw(line, i % kColors, x, y);
    labels.push_back({x.at(px) + 9, y.at(py) + 5, i % kColors, line.name, number_name(py)});
  }
  separate(labels, top + 5, bottom - 3);
  for (const Label& label : labels) out += draw(label);
  return out;
}

}  // namespace

std::string to_svg(const Figure& figure) {
  const double panel_width = figure.panels.size() == 1 ? kSinglePanelWidth : kPanelWidth;
  const double width = panel_width * static_cast<double>(figure.panels.size());
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" font-family=\"system-ui,Helvetica,Arial,sans-serif\" "
      "font-size=\"14\" role=\"img\" aria-label=\"{2}\">\n<title>{2}</title>\n",
      width, kHeight, escaped(figure.title));
  out += kStyle;
  out += fmt::format("<rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n", width - 1, kHeight - 1);
  out += text_at(24, 36, figure.title, "class=\"t\" font-size=\"20\" font-weight=\"bold\"");
  out += text_at(24, 60, figure.subtitle, "class=\"m\"");
  for (size_t i = 0; i < figure.panels.size(); ++i) {
    const double begin = panel_width * static_cast<double>(i);
    out += draw(figure.panels[i], begin + kLeft, begin + panel_width - kRight);
  }
  return out + "</svg>\n";
}

}  // namespace mla::cli
