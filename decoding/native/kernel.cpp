// One forward pass of a Llama-family model on one CPU core, as one C call.
//
// Why own code: with the usual matrix products five rows cost two to three times one row, which eats what
// speculation wins. Here weights stream from memory once a pass, whatever the number of rows, and stay in
// the 16-bit form of the checkpoint (widened exactly while loading), so a pass costs little more than reading them.
//
// Exactness: a row's result never depends on its neighbours, bit for bit. Each output is one chain of fused
// multiply-adds in the order of k; each attention sum runs in position order. Compile with -ffp-contract=off
// and without -ffast-math, or that promise is void.
//
// The caller (decoding/native_model.py) owns all memory and has checked every index.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "bytes.h"
#include "choice.h"
#include "tiles.h"
#include "vector.h"

namespace {

// ------------------------------------------------------------------------------------------ the contract

enum Storage : int32_t { kFloat = 0, kHalf = 1, kBfloat = 2, kTiles = 3, kBytes = 4 };

// y = x W^T + bias. Weights lie in panels of kPanel outputs, [panels, inputs, kPanel], the last one zero-padded; as
// tiles, [panels, blocks of 32 inputs, halves of the panel, 16 pairs of inputs, 16 outputs, 2], bfloats; as bytes,
// [panels, blocks of 64 inputs, halves of the panel, 16 fours of inputs, 16 outputs, 4], times a scale an output.
struct Linear {
  const void* weights;
  const float* bias;    // or null
  const float* scales;  // of bytes, [outputs of all panels]; or null
  int32_t inputs, outputs, storage, padding;
};

struct Layer {
  const float *input_norm, *post_norm;
  const float *query_norm, *key_norm;  // or null
  Linear qkv, out, gate_up, down;
};

struct Model {
  int32_t hidden, intermediate, num_layers, num_heads, num_kv_heads, head_dim;
  float norm_eps;
  int32_t embedding_storage;
  const void* embedding;          // [vocab, hidden]
  const float *cosines, *sines;   // [max_length, head_dim / 2]
  const float* final_norm;
  const Layer* layers;
  Linear head;
  const int32_t* output_ids;  // token ids of the head's outputs, or null: all, in order
};

struct Cache {
  float *keys, *values;  // [layers, slots, kv_heads, max_length, head_dim]
  int32_t num_slots, max_length;
};

// One span of the pass: its rows continue `cached` tokens of a cache slot.
struct Span {
  int32_t slot, cached, num_rows, logits_from, is_prompt;
};
constexpr int kSpanWords = sizeof(Span) / sizeof(int32_t);

struct Pass {
  int32_t num_spans, num_rows;
  const Span* spans;
  const int32_t* token_ids;  // [num_rows]
  const int32_t* parents;    // [num_rows], a row of the same span or -1
};

// ---------------------------------------------------------------------------------------------- products

constexpr int kPanel = kLanes * kPanelVectors;
constexpr int kPairRows = 3;
constexpr int kChunkFloats = 1 << 17;
constexpr int kPrefetchBytes = 4096;  // the hardware prefetcher stops at page ends; worth 10 % of a one-row pass

template <int kStorage>
inline Vector weight(const void* base, size_t index) {
  if (kStorage == kHalf) return widen_half(static_cast<const uint16_t*>(base) + index);
  if (kStorage == kBfloat) return widen_bfloat(static_cast<const uint16_t*>(base) + index);
  return load(static_cast<const float*>(base) + index);
}

inline void write_panel(const Linear& linear, size_t panel, const Vector* values, bool add, float* y) {
  const size_t first = panel * kPanel;
  const int columns = linear.outputs - first < kPanel ? static_cast<int>(linear.outputs - first) : kPanel;
  if (columns == kPanel) {
    for (int v = 0; v < kPanelVectors; ++v) {
      float* target = y + first + v * kLanes;
      const Vector value = linear.bias ? values[v] + load(linear.bias + first + v * kLanes) : values[v];
      store(target, add ? load(target) + value : value);
    }
    return;
  }
  float buffer[kPanel];
  for (int v = 0; v < kPanelVectors; ++v) store(buffer + v * kLanes, values[v]);
  if (linear.bias)
    for (int c = 0; c < columns; ++c) buffer[c] += linear.bias[first + c];
  if (add)
    for (int c = 0; c < columns; ++c) y[first + c] += buffer[c];
  else
    std::memcpy(y + first, buffer, columns * sizeof(float));
}

// kRows rows times kPanels neighbouring panels: one chain of multiply-adds an output, in registers throughout.
template <int kRows, int kPanels, int kStorage>
void multiply_block(const Linear& linear, size_t panel, const float* x, bool add, float* y) {
  constexpr size_t kBytes = kPanel * (kStorage == kFloat ? sizeof(float) : sizeof(uint16_t));
  const size_t inputs = linear.inputs, step = inputs * kPanel, start = panel * step;
  const char* ahead = static_cast<const char*>(linear.weights) + panel * inputs * kBytes + kPrefetchBytes;
  Vector totals[kRows][kPanels][kPanelVectors];
  for (int r = 0; r < kRows; ++r)
    for (int p = 0; p < kPanels; ++p)
      for (int v = 0; v < kPanelVectors; ++v) totals[r][p][v] = splat(0.0f);
  for (size_t k = 0; k < inputs; ++k) {
    Vector w[kPanels][kPanelVectors];
    for (int p = 0; p < kPanels; ++p) {
      for (size_t line = 0; line < kBytes; line += 64) __builtin_prefetch(ahead + (p * inputs + k) * kBytes + line);
      for (int v = 0; v < kPanelVectors; ++v)
        w[p][v] = weight<kStorage>(linear.weights, start + p * step + k * kPanel + v * kLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const Vector input = splat(x[r * inputs + k]);
      for (int p = 0; p < kPanels; ++p)
        for (int v = 0; v < kPanelVectors; ++v) totals[r][p][v] = fma(input, w[p][v], totals[r][p][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int p = 0; p < kPanels; ++p) write_panel(linear, panel + p, totals[r][p], add, y + r * size_t(linear.outputs));
}

using Block = void (*)(const Linear&, size_t, const float*, bool, float*);

// The block for a row count: 1 .. kMaxRows, or 1 .. kPairRows where it takes two panels.
template <int kPanels, int kStorage, int... kIndex>
Block block_for(int rows, std::integer_sequence<int, kIndex...>) {
  static constexpr Block blocks[] = {multiply_block<kIndex + 1, kPanels, kStorage>...};
  return blocks[rows - 1];
}

template <int kStorage>
void multiply_all(const Linear& linear, const float* x, int rows, bool add, float* y) {
  const size_t panels = (linear.outputs + kPanel - 1) / kPanel;
  const int blocks = (rows + kMaxRows - 1) / kMaxRows;
  size_t panel = 0;
  if (rows <= kPairRows)  // too few chains to hide the latency of an addition: two panels at a time
    for (; panel + 2 <= panels; panel += 2)
      block_for<2, kStorage>(rows, std::make_integer_sequence<int, kPairRows>{})(linear, panel, x, add, y);
  for (; panel < panels; ++panel)
    for (int block = 0; block < blocks; ++block) {  // even blocks: 14 rows are 7 + 7, not 12 + 2
      const int first = rows * block / blocks, last = rows * (block + 1) / blocks;
      const Block run = block_for<1, kStorage>(last - first, std::make_integer_sequence<int, kMaxRows>{});
      run(linear, panel, x + first * size_t(linear.inputs), add, y + first * size_t(linear.outputs));
    }
}

// y (+)= x W^T + bias for `rows` rows, in chunks that stay in the second-level cache while the weights stream by.
void multiply_vectors(const Linear& linear, const float* x, int rows, bool add, float* y) {
  const int fitting = kChunkFloats / linear.inputs, chunk = fitting > kMaxRows ? fitting : kMaxRows;
  for (int first = 0; first < rows; first += chunk) {
    const int count = rows - first < chunk ? rows - first : chunk;
    const float* source = x + first * size_t(linear.inputs);
    float* target = y + first * size_t(linear.outputs);
    if (linear.storage == kHalf) multiply_all<kHalf>(linear, source, count, add, target);
    else if (linear.storage == kBfloat) multiply_all<kBfloat>(linear, source, count, add, target);
    else multiply_all<kFloat>(linear, source, count, add, target);
  }
}

// --------------------------------------------------------------------------------------- products on tiles

int widest_input(const Model& m) {
  const int heads = m.num_heads * m.head_dim, widest = heads > m.hidden ? heads : m.hidden;
  return widest > m.intermediate ? widest : m.intermediate;
}

#if POLYDRAFT_TILES

static_assert(kPanel == 2 * tiles::kColumns);

// Rows of one turn, a multiple of two groups: what stays in the second-level cache beside a panel.
int tile_chunk(int inputs) {
  const int pairs = kChunkFloats / (tiles::blocks(inputs) * tiles::kDepth) / (2 * tiles::kRows);
  return (pairs > 0 ? pairs : 1) * 2 * tiles::kRows;
}

// Floats: rows in three parts, a panel in two, four tiles of results, and room to begin at a cache line.
size_t tile_scratch(const Model& m) {
  const size_t inputs = tiles::blocks(widest_input(m)) * size_t(tiles::kDepth);
  const size_t rows = inputs * 2 * tiles::kRows;  // of the widest; narrower ones fill a chunk
  return (rows > kChunkFloats ? rows : kChunkFloats) * 3 / 2 + inputs * kPanel + 4 * 256 + 16;
}

// `found`: [2, 16, 16], of a group of rows and one panel.
void write_tile(const Linear& linear, size_t panel, int rows, const float* found, bool add, float* y) {
  for (int row = 0; row < rows; ++row) {
    const Vector values[kPanelVectors] = {load(found + row * tiles::kColumns), load(found + 256 + row * tiles::kColumns)};
    write_panel(linear, panel, values, add, y + row * size_t(linear.outputs));
  }
}

struct TileRoom {  // of a turn: rows in parts, a panel in parts, results
  tiles::Split rows, panel;
  float* found;
};

TileRoom tile_room(float* scratch, int groups, int blocks) {
  const size_t group = size_t(blocks) * tiles::kTile;
  auto* line = reinterpret_cast<uint16_t*>((reinterpret_cast<uintptr_t>(scratch) + 63) & ~uintptr_t(63));
  uint16_t* panel = line + 3 * groups * group;
  return {{line, groups * group}, {panel, 2 * group}, reinterpret_cast<float*>(panel + 4 * group)};
}

// Weights as tiles: one walk through them, two panels abreast, which stay near for all groups of rows.
void multiply_tiled(const Linear& linear, const float* x, int rows, bool add, float* y, float* scratch) {
  const int blocks = tiles::blocks(linear.inputs), groups = tiles::groups(rows), height = tiles::height(rows);
  const size_t panels = (linear.outputs + kPanel - 1) / kPanel, step = size_t(blocks) * 2 * tiles::kTile;
  const auto* weights = static_cast<const uint16_t*>(linear.weights);
  const TileRoom room = tile_room(scratch, groups, blocks);
  tiles::take(height);
  tiles::split_rows(x, rows, height, linear.inputs, room.rows);
  for (size_t panel = 0; panel < panels; panel += 2) {
    const bool two = panel + 1 < panels;
    for (int group = 0; group < groups; ++group) {
      const auto run = group == 0 ? two ? tiles::multiply<2, true> : tiles::multiply<1, true>
                                  : two ? tiles::multiply<2, false> : tiles::multiply<1, false>;
      run(room.rows, weights + panel * step, group, blocks, room.found);
      const int first = group * height, count = rows - first < height ? rows - first : height;
      for (int p = 0; p <= two; ++p)
        write_tile(linear, panel + p, count, room.found + p * 512, add, y + first * size_t(linear.outputs));
    }
  }
}

#if POLYDRAFT_BYTES

// Weights as bytes: as above, one panel after the other.
void multiply_bytes(const Linear& linear, const float* x, int rows, bool add, float* y, float* scratch) {
  const int blocks = bytes::blocks(linear.inputs), groups = tiles::groups(rows), height = tiles::height(rows);
  const size_t panels = (linear.outputs + kPanel - 1) / kPanel, size = size_t(groups) * blocks * bytes::kTile;
  auto* line = reinterpret_cast<int8_t*>((reinterpret_cast<uintptr_t>(scratch) + 63) & ~uintptr_t(63));
  auto* found = reinterpret_cast<int32_t*>(line + 2 * size);
  const bytes::Rounded rounded{line, size, reinterpret_cast<float*>(found + 4 * 256)};
  tiles::take(height, 6);
  bytes::round_rows(x, rows, height, linear.inputs, rounded);
  for (size_t panel = 0; panel < panels; ++panel) {
    const int8_t* weights = static_cast<const int8_t*>(linear.weights) + panel * blocks * 2 * bytes::kTile;
    for (int group = 0; group < groups; ++group) {
      const auto run = group == 0 ? bytes::multiply<true> : bytes::multiply<false>;
      run(rounded, weights, group, blocks, found);
      for (int row = group * height; row < rows && row < (group + 1) * height; ++row) {
        Vector values[kPanelVectors];
        for (int half = 0; half < 2; ++half) {
          const int32_t* whole = found + half * 512 + (row - group * height) * tiles::kColumns;
          const float* scales = linear.scales + panel * kPanel + half * tiles::kColumns;
          values[half] = bytes::scaled(whole, whole + 256, rounded.scales[row], scales);
        }
        write_panel(linear, panel, values, add, y + row * size_t(linear.outputs));
      }
    }
  }
}

#else

void multiply_bytes(const Linear&, const float*, int, bool, float*, float*) {}

#endif

// Weights in half precision, split panel by panel.
void multiply_splitting(const Linear& linear, const float* x, int rows, bool add, float* y, float* scratch) {
  const int inputs = linear.inputs, groups = tiles::groups(rows), blocks = tiles::blocks(inputs);
  const size_t panels = (linear.outputs + kPanel - 1) / kPanel;
  const TileRoom room = tile_room(scratch, groups, blocks);
  tiles::take();
  tiles::split_rows(x, rows, tiles::kRows, inputs, room.rows);
  for (size_t panel = 0; panel < panels; ++panel) {
    auto weigh = [&](int k, int half) {
      const size_t index = (panel * inputs + k) * kPanel + half * kLanes;
      if (half == 0) __builtin_prefetch(static_cast<const uint16_t*>(linear.weights) + index + kPrefetchBytes / 2);
      return weight<kHalf>(linear.weights, index);
    };
    tiles::split_panel(weigh, inputs, room.panel);
    for (int group = 0; group < groups; group += 2) {
      if (group + 1 < groups) tiles::multiply_split<2>(room.rows, room.panel, group, blocks, room.found);
      else tiles::multiply_split<1>(room.rows, room.panel, group, blocks, room.found);
      for (int g = group; g < groups && g < group + 2; ++g) {
        const int first = g * tiles::kRows, count = rows - first < tiles::kRows ? rows - first : tiles::kRows;
        write_tile(linear, panel, count, room.found + (g - group) * 512, add, y + first * size_t(linear.outputs));
      }
    }
  }
}

// As `multiply_vectors`. For weights in half precision this is the way of prompts alone.
void multiply_on_tiles(const Linear& linear, const float* x, int rows, bool add, float* y, float* scratch) {
  const int chunk = tile_chunk(linear.inputs);
  for (int first = 0; first < rows; first += chunk) {
    const int count = rows - first < chunk ? rows - first : chunk;
    const float* source = x + first * size_t(linear.inputs);
    float* target = y + first * size_t(linear.outputs);
    if (linear.storage == kTiles) multiply_tiled(linear, source, count, add, target, scratch);
    else if (linear.storage == kBytes) multiply_bytes(linear, source, count, add, target, scratch);
    else multiply_splitting(linear, source, count, add, target, scratch);
  }
  _tile_release();
}

bool splits_for_prompts(const Linear& linear) { return linear.storage == kHalf && tiles::allowed(); }
bool lies_in_tiles(const Linear& linear) { return linear.storage == kTiles || linear.storage == kBytes; }

#else

size_t tile_scratch(const Model&) { return 0; }
void multiply_on_tiles(const Linear&, const float*, int, bool, float*, float*) {}
bool splits_for_prompts(const Linear&) { return false; }
bool lies_in_tiles(const Linear&) { return false; }

#endif

// y (+)= x W^T + bias for rows that are no prompt's. Which way depends on the machine and the checkpoint alone.
void multiply(const Linear& linear, const float* x, int rows, bool add, float* y, float* scratch) {
  if (lies_in_tiles(linear)) multiply_on_tiles(linear, x, rows, add, y, scratch);
  else multiply_vectors(linear, x, rows, add, y);
}

// All rows of a pass, neighbouring ones of a kind together.
void multiply_rows(const Linear& linear, const Pass& pass, const float* x, bool add, float* y, float* scratch) {
  if (!splits_for_prompts(linear))
    return multiply(linear, x, pass.num_rows, add, y, scratch);
  for (int i = 0, first = 0; i < pass.num_spans;) {
    const bool is_prompt = pass.spans[i].is_prompt;
    int rows = 0;
    for (; i < pass.num_spans && bool(pass.spans[i].is_prompt) == is_prompt; ++i) rows += pass.spans[i].num_rows;
    const float* source = x + first * size_t(linear.inputs);
    float* target = y + first * size_t(linear.outputs);
    if (is_prompt) multiply_on_tiles(linear, source, rows, add, target, scratch);
    else multiply_vectors(linear, source, rows, add, target);
    first += rows;
  }
}

// --------------------------------------------------------------------------------------- the small pieces

void embed(const Model& model, int32_t token_id, float* y) {
  const size_t row = size_t(token_id) * model.hidden;
  float wide[kLanes];
  for (int i = 0; i < model.hidden; i += kLanes) {  // the table is padded by one vector
    const Vector value = model.embedding_storage == kHalf     ? weight<kHalf>(model.embedding, row + i)
                         : model.embedding_storage == kBfloat ? weight<kBfloat>(model.embedding, row + i)
                                                              : weight<kFloat>(model.embedding, row + i);
    if (i + kLanes <= model.hidden) {
      store(y + i, value);
    } else {
      store(wide, value);
      std::memcpy(y + i, wide, (model.hidden - i) * sizeof(float));
    }
  }
}

void rms_norm(const float* x, const float* scale, int size, float eps, float* y) {
  const float inverse = 1.0f / std::sqrt(dot(x, x, size) / size + eps);
  for (int i = 0; i < size; ++i) y[i] = scale[i] * (x[i] * inverse);
}

void rotate(const float* cosines, const float* sines, int half, float* x) {
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * cosines[i] - b * sines[i];
    x[i + half] = b * cosines[i] + a * sines[i];
  }
}

// y[i] = silu(x[i]) * x[size + i]; y may be x, or lie before it.
void gate(const float* x, int size, float* y) {
  auto gated = [](Vector g, Vector up) { return g / (splat(1.0f) + exponential(-g)) * up; };
  int i = 0;
  for (; i + kLanes <= size; i += kLanes) store(y + i, gated(load(x + i), load(x + size + i)));
  if (i == size) return;
  const size_t rest = (size - i) * sizeof(float);
  float gates[kLanes] = {}, ups[kLanes] = {};
  std::memcpy(gates, x + i, rest);
  std::memcpy(ups, x + size + i, rest);
  store(gates, gated(load(gates), load(ups)));
  std::memcpy(y + i, gates, rest);
}

// --------------------------------------------------------------------------------------------- attention

// Keys that one row sees, in position order: `straight` rows of the slot, then the rows named by `path`.
struct Visible {
  int straight, path_length;
  const int32_t* path;
  int count() const { return straight + path_length; }
  int operator[](int j) const { return j < straight ? j : path[j - straight]; }
};

// Fetches, while row j of the cache is used, the row that is needed 4 KB later: of `next` after the last one. A head's
// rows fill a few pages, too few for the processor to see far ahead by itself.
struct Ahead {
  const float *rows, *next;  // or rows null: they have been used before
  int count, head_dim;
  void fetch(int j) const {
    if (!rows) return;
    const int later = j + kPrefetchBytes / int(sizeof(float)) / head_dim;
    const float* row = later < count ? rows + size_t(later) * head_dim : next + size_t(later - count) * head_dim;
    for (int d = 0; d < head_dim; d += 16) __builtin_prefetch(row + d);
  }
};

// Rows of queries that look at the keys together, each in a register of its own for a while.
constexpr int kQueries = kLanes == 16 ? 4 : kLanes == 8 ? 2 : 1;

// One query's row at one head: what it sees, its scores, and where its result goes.
struct Look {
  const float* query;
  Visible visible;
  float *scores, *y;
};

// The values' share in y, `common` straight rows for all looks together, then each its own rest; `kVectors` from d on.
template <int kLooks, int kVectors>
void weigh_values(const Look* looks, const float* values, int common, int head_dim, int d, const float* inverses,
                  const Ahead& ahead) {
  Vector totals[kLooks][kVectors];
  for (int i = 0; i < kLooks; ++i)
    for (int v = 0; v < kVectors; ++v) totals[i][v] = splat(0.0f);
  for (int j = 0; j < common; ++j) {
    ahead.fetch(j);
    for (int v = 0; v < kVectors; ++v) {
      const Vector value = load(values + size_t(j) * head_dim + d + v * kLanes);
      for (int i = 0; i < kLooks; ++i) totals[i][v] = fma(splat(looks[i].scores[j]), value, totals[i][v]);
    }
  }
  for (int i = 0; i < kLooks; ++i) {
    const Visible& visible = looks[i].visible;
    for (int j = common; j < visible.count(); ++j)
      for (int v = 0; v < kVectors; ++v) {
        const Vector value = load(values + size_t(visible[j]) * head_dim + d + v * kLanes);
        totals[i][v] = fma(splat(looks[i].scores[j]), value, totals[i][v]);
      }
    for (int v = 0; v < kVectors; ++v) store(looks[i].y + d + v * kLanes, totals[i][v] * inverses[i]);
  }
}

void weigh_column(const Look& look, const float* values, int head_dim, int d, float inverse) {
  float total = 0.0f;
  for (int j = 0; j < look.visible.count(); ++j)
    total += look.scores[j] * values[size_t(look.visible[j]) * head_dim + d];
  look.y[d] = total * inverse;
}

// Scores of four keys. Each is summed as if it were alone, so grouping keys or queries does not change a bit.
template <int kLooks>
inline void score(const Look* looks, const float* const* keys, int head_dim, float scale, int first) {
  Vector totals[kLooks][4];
  for (int l = 0; l < kLooks; ++l)
    for (int i = 0; i < 4; ++i) totals[l][i] = splat(0.0f);
  int d = 0;
  for (; d + kLanes <= head_dim; d += kLanes)
    for (int i = 0; i < 4; ++i) {
      const Vector key = load(keys[i] + d);
      for (int l = 0; l < kLooks; ++l) totals[l][i] = fma(load(looks[l].query + d), key, totals[l][i]);
    }
  for (int l = 0; l < kLooks; ++l) {
    Quad result = sums(totals[l][0], totals[l][1], totals[l][2], totals[l][3]);
    for (int rest = d; rest < head_dim; ++rest)
      for (int i = 0; i < 4; ++i) result[i] += looks[l].query[rest] * keys[i][rest];
    result *= scale;
    std::memcpy(looks[l].scores + first, &result, sizeof result);
  }
}

// Turns scores into unnormalised shares and returns one over their sum. `scores` has room for a vector more.
float soften(float* scores, int count) {
  for (int j = count; j % kLanes; ++j) scores[j] = -1e30f;
  Vector tops = load(scores);
  for (int j = kLanes; j < count; j += kLanes) {
    const Vector next = load(scores + j);
    tops = next > tops ? next : tops;
  }
  float top = tops[0];
  for (int i = 1; i < kLanes; ++i) top = tops[i] > top ? tops[i] : top;
  Vector total = splat(0.0f);
  for (int j = 0; j < count; j += kLanes) {
    const Vector share = exponential(load(scores + j) - splat(top));
    store(scores + j, share);
    total += share;
  }
  return 1.0f / sum(total);
}

// Attention of rows of one head; the first `common` rows of the cache are straight for all. `next`: the keys that are
// needed after this; null where keys and values have been used before.
template <int kLooks>
void attend(const Look* looks, const float* keys, const float* values, int common, int head_dim, const float* next) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  const Ahead of_keys{next ? keys : nullptr, values, common, head_dim};
  const Ahead of_values{next ? values : nullptr, next, common, head_dim}, of_none{};
  const float* four[4];
  int together = common & ~3;
  for (int j = 0; j < together; j += 4) {
    for (int i = 0; i < 4; ++i) {
      of_keys.fetch(j + i);
      four[i] = keys + size_t(j + i) * head_dim;
    }
    score<kLooks>(looks, four, head_dim, scale, j);
  }
  float inverses[kLooks];
  for (int l = 0; l < kLooks; ++l) {
    const int count = looks[l].visible.count();
    for (int j = together; j < count; j += 4) {
      for (int i = 0; i < 4; ++i)
        four[i] = keys + size_t(looks[l].visible[j + i < count ? j + i : count - 1]) * head_dim;
      score<1>(looks + l, four, head_dim, scale, j);
    }
    inverses[l] = soften(looks[l].scores, count);
  }
  int d = 0;
  for (; d + 4 * kLanes <= head_dim; d += 4 * kLanes)
    weigh_values<kLooks, 4>(looks, values, common, head_dim, d, inverses, d == 0 ? of_values : of_none);
  for (; d + kLanes <= head_dim; d += kLanes)
    weigh_values<kLooks, 1>(looks, values, common, head_dim, d, inverses, d == 0 ? of_values : of_none);
  for (; d < head_dim; ++d)
    for (int l = 0; l < kLooks; ++l) weigh_column(looks[l], values, head_dim, d, inverses[l]);
}

void attend_some(const Look* looks, int count, const float* keys, const float* values, int common, int head_dim,
                 const float* next) {
  if (count == 4) attend<4>(looks, keys, values, common, head_dim, next);
  else if (count == 3) attend<3>(looks, keys, values, common, head_dim, next);
  else if (count == 2) attend<2>(looks, keys, values, common, head_dim, next);
  else attend<1>(looks, keys, values, common, head_dim, next);
}

// ------------------------------------------------------------------------------------------- the forward

struct Scratch {
  float *hidden, *normed, *qkv, *wide, *scores, *tiles;
  int32_t *depths, *path;
};

void norm_rows(const Model& m, const float* scale, int rows, const Scratch& s) {
  for (size_t row = 0; row < size_t(rows); ++row)
    rms_norm(s.hidden + row * m.hidden, scale, m.hidden, m.norm_eps, s.normed + row * m.hidden);
}

size_t qkv_width(const Model& m) { return size_t(m.num_heads + 2 * m.num_kv_heads) * m.head_dim; }

size_t normed_width(const Model& m) {
  const size_t heads = size_t(m.num_heads) * m.head_dim;
  return heads > size_t(m.hidden) ? heads : m.hidden;
}

float* cache_head(float* base, const Model& m, const Cache& cache, int layer, int slot, int head) {
  return base + ((size_t(layer) * cache.num_slots + slot) * m.num_kv_heads + head) * cache.max_length * m.head_dim;
}

// Normalises and rotates the queries in place, and writes the row's keys and values to the cache.
void place_row(const Model& m, const Layer& layer, const Cache& cache, int index, const Span& span, int row,
               int position, float* qkv) {
  const int dim = m.head_dim, half = dim / 2;
  const float *cosines = m.cosines + size_t(position) * half, *sines = m.sines + size_t(position) * half;
  for (int head = 0; head < m.num_heads + m.num_kv_heads; ++head) {
    const float* norm = head < m.num_heads ? layer.query_norm : layer.key_norm;
    float* x = qkv + size_t(head) * dim;
    if (norm) rms_norm(x, norm, dim, m.norm_eps, x);
    rotate(cosines, sines, half, x);
  }
  const float* key = qkv + size_t(m.num_heads) * dim;
  const float* value = key + size_t(m.num_kv_heads) * dim;
  const size_t offset = size_t(span.cached + row) * dim;
  for (int head = 0; head < m.num_kv_heads; ++head) {
    float* key_target = cache_head(cache.keys, m, cache, index, span.slot, head) + offset;
    float* value_target = cache_head(cache.values, m, cache, index, span.slot, head) + offset;
    std::memcpy(key_target, key + size_t(head) * dim, dim * sizeof(float));
    std::memcpy(value_target, value + size_t(head) * dim, dim * sizeof(float));
  }
}

// A row at depth i in row i has all rows before it as ancestors: its keys lie straight in the slot.
Visible visible_keys(const Span& span, const int32_t* parents, const int32_t* depths, int row, int32_t* path) {
  if (depths[row] == row) return {span.cached + row + 1, 0, nullptr};
  for (int depth = depths[row], node = row; depth >= 0; --depth, node = parents[node]) path[depth] = span.cached + node;
  return {span.cached, depths[row] + 1, path};
}

// Floats for the scores of one row: all positions, and what fills the last vector.
size_t score_room(int max_length) { return size_t(max_length) + 2 * kLanes; }

// Rows `from` and later of a span attend; y [rows that attend, heads * head_dim]. `next_slot` is the next span's.
void attend_span(const Model& m, const Cache& cache, int layer, const Span& span, int next_slot, int from,
                 const int32_t* parents, const int32_t* depths, const Scratch& s, const float* qkv, float* y) {
  const int dim = m.head_dim, group = m.num_heads / m.num_kv_heads;
  const size_t width = qkv_width(m), out_width = size_t(m.num_heads) * dim;
  for (int kv_head = 0; kv_head < m.num_kv_heads; ++kv_head) {
    const float* keys = cache_head(cache.keys, m, cache, layer, span.slot, kv_head);
    const float* values = cache_head(cache.values, m, cache, layer, span.slot, kv_head);
    const bool is_last = kv_head + 1 == m.num_kv_heads;
    const float* next = cache_head(cache.keys, m, cache, layer, is_last ? next_slot : span.slot, is_last ? 0 : kv_head + 1);
    Look looks[kQueries];
    int count = 0;
    for (int row = from; row < span.num_rows; ++row)
      for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        const Visible visible = visible_keys(span, parents, depths, row, s.path + count * span.num_rows);
        looks[count] = {qkv + row * width + size_t(head) * dim, visible, s.scores + count * score_room(cache.max_length),
                        y + (row - from) * out_width + size_t(head) * dim};
        if (++count < kQueries && !(row + 1 == span.num_rows && head + 1 == (kv_head + 1) * group)) continue;
        attend_some(looks, count, keys, values, span.cached, dim, next);
        next = nullptr;
        count = 0;
      }
  }
}

// Adds the attention of all rows to the residual stream. In the last layer only rows with wanted logits go on,
// moved together. Returns how many rows go on.
int attention_block(const Model& m, int index, const Cache& cache, const Pass& pass, const Scratch& s) {
  const Layer& layer = m.layers[index];
  const bool last = index == m.num_layers - 1;
  norm_rows(m, layer.input_norm, pass.num_rows, s);
  multiply_rows(layer.qkv, pass, s.normed, false, s.qkv, s.tiles);
  size_t first = 0, kept = 0;
  for (int i = 0; i < pass.num_spans; first += pass.spans[i++].num_rows) {
    const Span& span = pass.spans[i];
    const int from = last ? span.logits_from : 0;
    float* qkv = s.qkv + first * qkv_width(m);
    for (int row = 0; row < span.num_rows; ++row)
      place_row(m, layer, cache, index, span, row, span.cached + s.depths[first + row], qkv + row * qkv_width(m));
    const int next_slot = i + 1 < pass.num_spans ? pass.spans[i + 1].slot : span.slot;
    attend_span(m, cache, index, span, next_slot, from, pass.parents + first, s.depths + first, s, qkv,
                s.normed + kept * m.num_heads * m.head_dim);
    std::memmove(s.hidden + kept * m.hidden, s.hidden + (first + from) * m.hidden,
                 size_t(span.num_rows - from) * m.hidden * sizeof(float));
    kept += span.num_rows - from;
  }
  if (last) multiply(layer.out, s.normed, kept, true, s.hidden, s.tiles);
  else multiply_rows(layer.out, pass, s.normed, true, s.hidden, s.tiles);
  return kept;
}

// `pass`: whose rows they are, or null for the rows with wanted logits, few of which are a prompt's.
void mlp_block(const Model& m, const Layer& layer, const Pass* pass, int rows, const Scratch& s) {
  const size_t size = m.intermediate;
  norm_rows(m, layer.post_norm, rows, s);
  if (pass) multiply_rows(layer.gate_up, *pass, s.normed, false, s.wide, s.tiles);
  else multiply(layer.gate_up, s.normed, rows, false, s.wide, s.tiles);
  for (int row = 0; row < rows; ++row) gate(s.wide + row * 2 * size, m.intermediate, s.wide + row * size);
  if (pass) multiply_rows(layer.down, *pass, s.wide, true, s.hidden, s.tiles);
  else multiply(layer.down, s.wide, rows, true, s.hidden, s.tiles);
}

Scratch split_scratch(const Model& m, const Cache& cache, size_t rows, float* floats, int32_t* integers) {
  Scratch s;
  s.hidden = floats;
  s.normed = s.hidden + rows * m.hidden;
  s.qkv = s.normed + rows * normed_width(m);
  s.wide = s.qkv + rows * qkv_width(m);
  s.scores = s.wide + rows * 2 * m.intermediate;
  s.tiles = s.scores + kQueries * score_room(cache.max_length);
  s.depths = integers;
  s.path = integers + rows;
  return s;
}

void run_pass(const Model& m, const Cache& cache, const Pass& pass, const Scratch& s, float* logits) {
  for (int i = 0, first = 0; i < pass.num_spans; first += pass.spans[i++].num_rows)
    for (int row = first; row < first + pass.spans[i].num_rows; ++row)
      s.depths[row] = pass.parents[row] < 0 ? 0 : s.depths[first + pass.parents[row]] + 1;
  for (int row = 0; row < pass.num_rows; ++row) embed(m, pass.token_ids[row], s.hidden + row * size_t(m.hidden));
  int rows = pass.num_rows;
  for (int layer = 0; layer < m.num_layers; ++layer) {
    rows = attention_block(m, layer, cache, pass, s);
    mlp_block(m, m.layers[layer], layer + 1 < m.num_layers ? &pass : nullptr, rows, s);
  }
  norm_rows(m, m.final_norm, rows, s);
  multiply(m.head, s.normed, rows, false, logits, s.tiles);
}

Pass read_pass(const int32_t* words) {
  const int32_t num_spans = words[0], num_rows = words[1];
  const int32_t* token_ids = words + 2 + kSpanWords * num_spans;
  return {num_spans, num_rows, reinterpret_cast<const Span*>(words + 2), token_ids, token_ids + num_rows};
}

// Index of the first of the largest values. One chain of comparisons would wait for each to finish: there are several.
int32_t first_largest(const float* x, int size) {
  constexpr int kChains = 4, kStep = kChains * kLanes, kBlock = 8 * kStep, kNear = 64;
  float top = -INFINITY;
  int i = 0, start = 0;  // of the block that the largest value is in
  for (int end; i + kStep <= size; i = end) {
    end = i + kBlock <= size ? i + kBlock : size - (size - i) % kStep;
    Vector tops[kChains];
    for (int c = 0; c < kChains; ++c) tops[c] = splat(-INFINITY);
    for (int j = i; j < end; j += kStep)
      for (int c = 0; c < kChains; ++c) {
        const float* here = x + j + c * kLanes;
        __builtin_prefetch(reinterpret_cast<const char*>(here) + kPrefetchBytes);
        const Vector next = load(here);
        tops[c] = next > tops[c] ? next : tops[c];
      }
    for (int c = 1; c < kChains; ++c) tops[0] = tops[c] > tops[0] ? tops[c] : tops[0];
    float highest = -INFINITY;
    for (int lane = 0; lane < kLanes; ++lane) highest = tops[0][lane] > highest ? tops[0][lane] : highest;
    if (highest > top) {
      top = highest;
      start = i;
    }
  }
  for (; i < size; ++i)
    if (x[i] > top) {
      top = x[i];
      start = i;
    }
  for (i = start; i + kNear <= size; i += kNear) {  // first a part of the block, in vectors, then the place in it
    int32_t found = 0;
    for (int j = 0; j < kNear; ++j) found |= x[i + j] == top;
    if (found) break;
  }
  for (; i < size && x[i] != top; ++i) {}
  return i < size ? i : 0;  // all of them not a number
}

}  // namespace

extern "C" {

// Outputs a weight panel.
int32_t polydraft_panel() { return kPanel; }

// Whether weights may be stored as tiles.
int32_t polydraft_has_tiles() {
#if POLYDRAFT_TILES
  return tiles::allowed();
#else
  return 0;
#endif
}

// Whether weights may be stored as bytes.
int32_t polydraft_has_bytes() {
#if POLYDRAFT_BYTES
  return tiles::allowed();
#else
  return 0;
#endif
}

// Floats that polydraft_forward needs as scratch for `rows` rows; it needs 5 * rows integers besides.
int64_t polydraft_scratch(const Model* model, int32_t rows, int32_t max_length) {
  const size_t row = model->hidden + normed_width(*model) + qkv_width(*model) + 2 * size_t(model->intermediate);
  return static_cast<int64_t>(rows * row + kQueries * score_room(max_length) + tile_scratch(*model));
}

// Runs the pass described by `words`: [num_spans, num_rows, {slot, cached, num_rows, logits_from, is_prompt} a span,
// token ids, parents], writes keys and values to the cache and the wanted rows to logits [wanted, head.outputs].
void polydraft_forward(const Model* model, const Cache* cache, const int32_t* words, float* floats, int32_t* integers,
                       float* logits) {
  const Pass pass = read_pass(words);
  run_pass(*model, *cache, pass, split_scratch(*model, *cache, pass.num_rows, floats, integers), logits);
}

// The most probable token of each row of logits [rows, vocab].
void polydraft_argmax(const float* logits, int32_t rows, int32_t vocab, int32_t* token_ids) {
  for (int32_t row = 0; row < rows; ++row) token_ids[row] = first_largest(logits + row * size_t(vocab), vocab);
}

// Walks down each span of a pass (`words` as above) whose logits are wanted: from the first wanted row on to rows that
// carry the most probable token of the row they continue. `found`: a span each, {rows walked to, the last one's most
// probable token, those rows, counted from the one behind the first}. Returns how many integers that are.
int32_t polydraft_walk(const int32_t* words, const float* logits, int32_t vocab, int32_t* found) {
  const Pass pass = read_pass(words);
  int32_t* next = found;
  for (int i = 0, first = 0; i < pass.num_spans; first += pass.spans[i++].num_rows) {
    const int from = pass.spans[i].logits_from, rows = pass.spans[i].num_rows;
    if (from == rows) continue;
    const int32_t *token_ids = pass.token_ids + first, *parents = pass.parents + first;
    int32_t *head = next, node = from, best = first_largest(logits, vocab);
    next += 2;
    for (int row = from + 1; row < rows; ++row)
      if (token_ids[row] == best && parents[row] == node) {
        *next++ = row - from - 1;
        node = row;
        best = first_largest(logits + (row - from) * size_t(vocab), vocab);
      }
    head[0] = static_cast<int32_t>(next - head) - 2;
    head[1] = best;
    logits += (rows - from) * size_t(vocab);
  }
  return static_cast<int32_t>(next - found);
}

// Which of its options proposes how many tokens for each request: see choice.h.
void polydraft_choose(const choice::Costs* costs, const double* values, int32_t* found) {
  choice::choose(*costs, values, found);
}

// Runs the pass, of which each span wants its last row, and lets every span go on greedily on its own until it has
// `lengths` new tokens, 1 or more: token_ids [spans, stride]. `words` is used up; `owners` has room for an integer a span.
void polydraft_draft(const Model* model, const Cache* cache, int32_t* words, const int32_t* lengths, int32_t* owners,
                     int32_t stride, float* floats, int32_t* integers, float* logits, int32_t* token_ids) {
  const Model& m = *model;
  const size_t outputs = m.head.outputs;
  Pass pass = read_pass(words);
  Span* spans = reinterpret_cast<Span*>(words + 2);
  for (int i = 0; i < pass.num_spans; ++i) owners[i] = i;
  for (int depth = 0; pass.num_spans; ++depth) {
    run_pass(m, *cache, pass, split_scratch(m, *cache, pass.num_rows, floats, integers), logits);
    int going = 0;
    for (int i = 0; i < pass.num_spans; ++i) {
      const int owner = owners[i];
      const int32_t best = first_largest(logits + i * outputs, m.head.outputs);
      token_ids[owner * stride + depth] = m.output_ids ? m.output_ids[best] : best;
      if (depth + 1 == lengths[owner]) continue;
      spans[going] = {spans[i].slot, spans[i].cached + spans[i].num_rows, 1, 0, 0};
      owners[going++] = owner;
    }
    int32_t *next = words + 2 + kSpanWords * going, *parents = next + going;
    for (int i = 0; i < going; ++i) {
      next[i] = token_ids[owners[i] * stride + depth];
      parents[i] = -1;
    }
    pass = {going, going, spans, next, parents};
  }
}

}  // extern "C"
