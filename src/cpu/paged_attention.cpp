#include "cpu/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mla::cpu {
namespace {

constexpr int64_t kQueriesPerGroup = 64;  ///< about so many queries share the decoding of a row
constexpr int64_t kQueriesPerTask = 256;  ///< about so many of neighbouring groups: a row's groups lie side by side in memory
constexpr int64_t kEnoughTasks = 16;      ///< a sequence with fewer is cut along its rows too
constexpr int64_t kMostRanges = 32;
constexpr int64_t kLeastRows = 2 * kTileRows;  ///< of a range

struct Task {
  const PagedAttention::Sequence* sequence = nullptr;
  int64_t group_begin = 0, group_end = 0;
  int64_t token_begin = 0, token_end = 0;  ///< of the sequence's new tokens
  int64_t row_begin = 0, row_end = 0;
  int64_t n_ranges = 1;      ///< tasks that share these queries, one after the other in the list
  float* partial = nullptr;  ///< with n_ranges > 1: [largest[nq], sum[nq], values[nq, d_v]], query by group, token, head
};

/// What a thread works in.
struct Buffers {
  std::byte* queries;  ///< as the kernels pack them, group by group
  std::byte* tile;
  float* scores;
  float* state;
  const float** rows;  ///< of queries
  int32_t* visible;
};

/// The softmax state of n queries within a piece of memory of state_size() floats.
struct State {
  float* largest;
  float* sum;
  float* values;  ///< rows pad_depth(d_v) apart
};
int64_t state_size(int64_t n, int64_t d_v) {
  return n * (2 + pad_depth(d_v));
}
State state_in(float* memory, int64_t n) {
  return {memory, memory + n, memory + 2 * n};
}

class Run {
 public:
  Run(CpuBackend& backend, const PagedAttention& job, const LayerRows& cache)
      : backend_(backend),
        job_(job),
        cache_(cache),
        kernels_(tile_kernels(backend.kernels(), cache.layout->format())),
        tokens_per_task_(std::max<int64_t>(1, kQueriesPerGroup / job.group_heads)) {}

  void plan() {
    for (const PagedAttention::Sequence& sequence : job_.sequences) plan(sequence);
    int64_t most = 0, most_queries_size = 0, tile_size = kernels_.tile_size(job_.d_k, job_.d_v);
    for (const Task& task : tasks_) {
      most = std::max(most, n_queries(task));
      const int64_t n_groups = task.group_end - task.group_begin;
      most_queries_size = std::max(most_queries_size, n_groups * queries_size(task));
      if (reads_rows_in_place(task)) {
        tile_size = std::max(tile_size, attend_rows_size(n_groups, job_.d_k, job_.d_v) * static_cast<int64_t>(sizeof(float)));
      }
    }
    for (int i = 0; i < backend_.n_threads(); ++i) {
      buffers_.push_back({backend_.work<std::byte>(most_queries_size), backend_.work<std::byte>(tile_size),
                          backend_.work<float>(most * kTileRows), backend_.work<float>(state_size(most, job_.d_v)),
                          backend_.work<const float*>(most), backend_.work<int32_t>(most)});
    }
  }

  void execute() {
    backend_.for_tasks(static_cast<int64_t>(tasks_.size()), work_, [&](int64_t i, int thread) {
      attend(tasks_[static_cast<size_t>(i)], buffers_[static_cast<size_t>(thread)]);
    });
    if (split_.empty()) return;
    backend_.for_tasks(static_cast<int64_t>(split_.size()), work_ / 64.0,
                       [&](int64_t i, int) { merge(split_[static_cast<size_t>(i)]); });
  }

 private:
  /// Queries of one of the task's groups, and of all.
  int64_t group_queries(const Task& task) const { return (task.token_end - task.token_begin) * job_.group_heads; }
  int64_t n_queries(const Task& task) const { return (task.group_end - task.group_begin) * group_queries(task); }

  /// Bytes of one group's packed queries.
  int64_t queries_size(const Task& task) const { return kernels_.queries_size(group_queries(task), job_.d_k); }

  void plan(const PagedAttention::Sequence& sequence) {
    const SequenceSlice& s = *sequence.slice;
    if (s.n_new == 0) return;
    const int64_t blocks = (s.n_new + tokens_per_task_ - 1) / tokens_per_task_;
    const int64_t most_ranges = std::clamp<int64_t>(s.n_rows() / kLeastRows, 1, kMostRanges);
    // As many groups as fit, but not so many that too few tasks are left.
    const int64_t queries = std::min(s.n_new, tokens_per_task_) * job_.group_heads;
    const int64_t least_cuts = std::min(job_.n_groups, (kEnoughTasks + blocks * most_ranges - 1) / (blocks * most_ranges));
    const int64_t groups = std::clamp<int64_t>(kQueriesPerTask / queries, 1, (job_.n_groups + least_cuts - 1) / least_cuts);
    const int64_t cuts = (job_.n_groups + groups - 1) / groups;
    const int64_t tiles = (s.n_rows() + kTileRows - 1) / kTileRows;
    const int64_t range = blocks * cuts < kEnoughTasks ? std::max((tiles + kMostRanges - 1) / kMostRanges * kTileRows, kLeastRows)
                                                       : tiles * kTileRows;
    for (int64_t g = 0; g < job_.n_groups; g += groups) {
      for (int64_t b = 0; b < blocks; ++b) {
        add_tasks({.sequence = &sequence, .group_begin = g, .group_end = std::min(job_.n_groups, g + groups),
                   .token_begin = b * tokens_per_task_, .token_end = std::min(s.n_new, (b + 1) * tokens_per_task_)},
                  range);
      }
    }
  }

  /// The task, cut into ranges of rows.
  void add_tasks(Task task, int64_t range) {
    const int64_t n_rows = task.sequence->slice->n_past + task.token_end;  // the last token of the block sees so many
    task.n_ranges = (n_rows + range - 1) / range;
    if (task.n_ranges > 1) split_.push_back(tasks_.size());
    for (int64_t r = 0; r < task.n_ranges; ++r) {
      task.row_begin = r * range;
      task.row_end = std::min(n_rows, (r + 1) * range);
      if (task.n_ranges > 1) task.partial = backend_.work<float>(state_size(n_queries(task), job_.d_v));
      tasks_.push_back(task);
    }
    work_ += static_cast<double>(n_rows) * static_cast<double>(n_queries(task)) * static_cast<double>(job_.d_k + job_.d_v) / 16.0;
  }

  void attend(const Task& task, const Buffers& b) {
    const int64_t n = n_queries(task), n_group = group_queries(task), heads = job_.group_heads;
    const State state = state_in(task.n_ranges > 1 ? task.partial : b.state, n);
    std::fill_n(state.largest, n, -std::numeric_limits<float>::infinity());
    std::fill_n(state.sum, n, 0.0F);
    std::fill_n(state.values, n * pad_depth(job_.d_v), 0.0F);
    for (int64_t q = 0; q < n; ++q) {
      b.rows[q] = task.sequence->queries + (task.token_begin + q % n_group / heads) * job_.query_stride +
                  ((task.group_begin + q / n_group) * heads + q % heads) * job_.d_k;
    }
    if (reads_rows_in_place(task)) {
      attend_rows(task, b, state);
    } else {
      attend_tiles(task, b, state);
    }
    if (task.n_ranges == 1) write(task, state);
  }

  bool reads_rows_in_place(const Task& task) const { return !job_.value_in_key && group_queries(task) <= kFewQueries; }

  /// How many of a tile's rows each query of a group sees.
  void set_visible(const Task& task, int64_t first, int64_t n_rows, int32_t* visible) const {
    for (int64_t q = 0; q < group_queries(task); ++q) {
      const int64_t sees = task.sequence->slice->n_past + task.token_begin + q / job_.group_heads + 1 - first;
      visible[q] = static_cast<int32_t>(std::clamp<int64_t>(sees, 0, n_rows));
    }
  }

  void attend_rows(const Task& task, const Buffers& b, const State& state) {
    AttendRowsArgs args{.queries = b.rows, .n_groups = task.group_end - task.group_begin, .group_queries = group_queries(task),
                        .visible = b.visible, .scale = job_.scale, .rows = reinterpret_cast<float*>(b.tile), .scores = b.scores,
                        .largest = state.largest, .sum = state.sum, .values_sum = state.values};
    for (int64_t first = task.row_begin; first < task.row_end; first += kTileRows) {
      const int64_t n_rows = std::min(kTileRows, task.row_end - first);
      set_visible(task, first, n_rows, b.visible);
      args.source = source(*task.sequence->slice, task.group_begin, task.group_end, first, n_rows);
      backend_.kernels().attend_rows(backend_.kernels(), args);
    }
  }

  void attend_tiles(const Task& task, const Buffers& b, const State& state) {
    const int64_t n_group = group_queries(task);
    for (int64_t g = 0; g < task.group_end - task.group_begin; ++g) {
      kernels_.pack_queries(b.rows + g * n_group, n_group, job_.d_k, b.queries + g * queries_size(task));
    }
    AttendArgs args;
    args.n_queries = n_group;
    args.d_k = job_.d_k;
    args.d_v = job_.d_v;
    args.visible = b.visible;
    args.scale = job_.scale;
    args.scores = b.scores;
    for (int64_t first = task.row_begin; first < task.row_end; first += kTileRows) {
      const int64_t n_rows = std::min(kTileRows, task.row_end - first);
      set_visible(task, first, n_rows, b.visible);
      if (job_.value_in_key) args.ahead = tile_after(task, first);
      for (int64_t g = task.group_begin; g < task.group_end; ++g) {
        const int64_t index = g - task.group_begin, q = index * n_group;
        kernels_.load_tile(backend_.kernels(), source(*task.sequence->slice, g, g + 1, first, n_rows), b.tile, args.tile);
        args.queries = b.queries + index * queries_size(task);
        args.largest = state.largest + q;
        args.sum = state.sum + q;
        args.values_sum = state.values + q * pad_depth(job_.d_v);
        kernels_.attend(backend_.kernels(), args);
      }
    }
  }

  /// The whole rows of the tile that follows row `first`'s: this task's, or that of the next range, which the same thread is
  /// likely to take.
  Ahead tile_after(const Task& task, int64_t first) const {
    const SequenceSlice& s = *task.sequence->slice;
    const int64_t next = first + kTileRows, n_rows = s.n_past + task.token_end;
    if (next >= n_rows) return {};
    return {cache_.row(s, next), std::min(kTileRows, n_rows - next) * cache_.layout->row_bytes()};
  }

  /// Rows first ... first + n_rows - 1 of a page, as groups group_begin ... group_end - 1 see them.
  TileSource source(const SequenceSlice& slice, int64_t group_begin, int64_t group_end, int64_t first, int64_t n_rows) const {
    const std::span<const RowSegment> segments = cache_.layout->segments();
    TileSource source{.rows = reinterpret_cast<const uint8_t*>(cache_.row(slice, first)), .row_bytes = cache_.layout->row_bytes(),
                      .n_rows = n_rows, .keys = segments, .d_k = job_.d_k, .d_v = job_.d_v};
    if (job_.value_in_key) return source;
    const auto n = static_cast<size_t>(group_end - group_begin);
    source.keys = segments.subspan(static_cast<size_t>(group_begin), n);
    source.values = segments.subspan(static_cast<size_t>(job_.n_groups + group_begin), n);
    return source;
  }

  /// Merges the ranges that start at task `index` into the first one's state:
  ///   values = sum over ranges of e^(largest_i - largest) values_i,  sum likewise.
  void merge(size_t index) {
    const Task& first = tasks_[index];
    const int64_t n = n_queries(first);
    const State total = state_in(first.partial, n);
    for (int64_t i = 1; i < first.n_ranges; ++i) {
      const State part = state_in(tasks_[index + static_cast<size_t>(i)].partial, n);
      for (int64_t q = 0; q < n; ++q) {
        if (part.sum[q] == 0.0F) continue;  // a range of rows that this query does not see
        const float largest = std::max(total.largest[q], part.largest[q]);
        const float a = std::exp(total.largest[q] - largest), b = std::exp(part.largest[q] - largest);
        backend_.kernels().blend(total.values + q * pad_depth(job_.d_v), a, part.values + q * pad_depth(job_.d_v), b, job_.d_v);
        total.sum[q] = total.sum[q] * a + part.sum[q] * b;
        total.largest[q] = largest;
      }
    }
    write(first, total);
  }

  void write(const Task& task, const State& state) {
    const int64_t n_group = group_queries(task), heads = job_.group_heads;
    for (int64_t q = 0; q < n_queries(task); ++q) {
      float* out = task.sequence->out + (task.token_begin + q % n_group / heads) * job_.out_stride +
                   ((task.group_begin + q / n_group) * heads + q % heads) * job_.d_v;
      const float* values = state.values + q * pad_depth(job_.d_v);
      const float factor = 1.0F / state.sum[q];
      for (int64_t i = 0; i < job_.d_v; ++i) out[i] = values[i] * factor;
    }
  }

  CpuBackend& backend_;
  const PagedAttention& job_;
  const LayerRows& cache_;
  const TileKernels& kernels_;
  int64_t tokens_per_task_;
  std::vector<Task> tasks_;
  std::vector<size_t> split_;  // first tasks of those with several ranges
  std::vector<Buffers> buffers_;
  double work_ = 0.0;
};

}  // namespace

void run_paged_attention(CpuBackend& backend, const PagedAttention& job, const LayerRows& cache) {
  Run run(backend, job, cache);
  run.plan();
  run.execute();
}

}  // namespace mla::cpu
