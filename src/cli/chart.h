#pragma once

#include <string>
#include <utility>
#include <vector>

namespace mla::cli {

/// Lines over two logarithmic axes.
struct Panel {
  struct Line {
    std::string name;
    std::vector<std::pair<double, double>> points;  ///< (x, y), both positive, x rising
  };
  std::string title;
  std::string x_label, y_label;
  std::vector<Line> lines;
  std::vector<std::pair<double, std::string>> x_ticks;  ///< (x, its name), x rising; empty: where the points are, by their value
};

/// Panels side by side under one title.
struct Figure {
  std::string title, subtitle;
  std::vector<Panel> panels;
};

/// The figure as a picture that scales (SVG), on a ground of its own so that it is readable on light and dark pages. Every
/// line is named, with its last value, where it ends. A line without points is left out.
std::string to_svg(const Figure& figure);

}  // namespace mla::cli
