// Products on AMX tiles, where the processor has them and the kernel lends them.
//
// Weights that are bfloats lie in memory as tiles (`Storage::kTiles`), and all rows are multiplied here: a pass of
// sixteen rows then takes little longer than reading the weights. Weights in half precision must be split first, which
// pays for prompts only:
//
// A prompt brings dozens of rows at once, and there a vector unit is bound by its multiplications. Tiles multiply bfloats,
// of 8 bits, many times as fast, so both factors are split into sums of them: a float into three (24 bits), a weight into
// two (a half has 11). Both are exact. Of the six products the smallest is left out, 2^-24 of a term, so that the result
// is as good as in floats.
//
// Exactness: a row's result does not depend on its neighbours here either, since every output is one chain of tile
// operations in the order of k. It does differ from what `multiply` gives in the last bits; so whether a row is a
// prompt's must follow from its request alone, never from the batch.

#pragma once

#include "vector.h"

#if POLYDRAFT_AVX512 && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define POLYDRAFT_TILES 1

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

namespace tiles {

constexpr int kRows = 16, kDepth = 32, kColumns = 16;  // of one tile operation: [16, 32] x [32, 16]
constexpr int kTile = kRows * kDepth;                   // 16-bit floats of a factor

struct alignas(64) Shapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Until the tiles are let go: all of them full, or those that `multiply` gives to rows and sums (0 to 6, of bytes 0 to 5)
// of `height` rows.
inline void take(int height = kRows, int narrow = 7) {
  Shapes shapes;
  for (int tile = 0; tile < narrow; ++tile) shapes.rows[tile] = uint8_t(height);
  _tile_loadconfig(&shapes);
}

// Linux lends the tiles' 8 KB of state to processes that ask.
inline bool allowed() {
  constexpr long kAsk = 0x1023, kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kAsk, kTileData) == 0;
  return granted;
}

inline int blocks(int inputs) { return (inputs + kDepth - 1) / kDepth; }
inline int groups(int rows) { return (rows + kRows - 1) / kRows; }
inline int height(int rows) { return (rows + groups(rows) - 1) / groups(rows); }  // 20 rows are 10 + 10

struct Split {  // the parts of a factor, each `size` bfloats
  uint16_t* parts;
  size_t size;
  uint16_t* operator[](int part) const { return parts + part * size; }
};

inline __m512 widen(__m256i value) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(value), 16));
}

// Rows in groups of `height` as tiles [3 parts, group, block, 16, 32], the greatest part first; what sticks out is zero.
// What is beyond `height` rows of a tile is not written.
inline void split_rows(const float* x, int rows, int height, int inputs, const Split& split) {
  for (int group = 0; group * height < rows; ++group)
    for (int block = 0; block < blocks(inputs); ++block)
      for (int r = 0; r < height; ++r)
        for (int half = 0; half < 2; ++half) {
          const int row = group * height + r, k = block * kDepth + half * 16, left = inputs - k;
          const __mmask16 there = row >= rows || left <= 0 ? 0 : left >= 16 ? 0xffff : (1 << left) - 1;
          __m512 rest = _mm512_maskz_loadu_ps(there, x + size_t(row) * inputs + k);
          const size_t place = ((size_t(group) * blocks(inputs) + block) * kRows + r) * kDepth + half * 16;
          for (int part = 0; part < 3; ++part) {
            const __m256i top = (__m256i)_mm512_cvtneps_pbh(rest);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(split[part] + place), top);
            rest -= widen(top);
          }
        }
}

// One panel of 32 outputs as tiles [2 parts, block, half of the panel, 16 pairs of inputs, 16 outputs, 2].
// `weigh` widens 16 weights.
template <typename Weigh>
inline void split_panel(const Weigh& weigh, int inputs, const Split& split) {
  const __m512i mask = _mm512_set1_epi32(int(0xffff0000));
  auto pair = [&](__m512 a, __m512 b, uint16_t* target) {  // the upper halves, a's first
    const __m512i first = _mm512_srli_epi32(_mm512_castps_si512(a), 16);
    const __m512i second = _mm512_and_si512(_mm512_castps_si512(b), mask);
    _mm512_storeu_si512(target, _mm512_or_si512(first, second));
  };
  auto rest = [&](__m512 a) { return a - _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), mask)); };
  for (int k = 0; k < blocks(inputs) * kDepth; k += 2)
    for (int half = 0; half < 2; ++half) {
      const size_t place = ((k / kDepth * 2 + half) * kDepth + k % kDepth) * kColumns;
      const __m512 a = k < inputs ? weigh(k, half) : _mm512_setzero_ps();
      const __m512 b = k + 1 < inputs ? weigh(k + 1, half) : _mm512_setzero_ps();
      pair(a, b, split[0] + place);
      pair(rest(a), rest(b), split[1] + place);
    }
}

// One or two groups of rows, from `first` on, times a panel in two parts: y [groups, 2, 16, 16]. Four sums in turn hide
// the latency of each; small products come first.
template <int kGroups>
inline void multiply_split(const Split& rows, const Split& panel, int first, int blocks, float* y) {
  auto load_rows = [&](int part, int block) {
    const uint16_t* source = rows[part] + (size_t(first) * blocks + block) * kTile;
    _tile_loadd(4, source, 64);
    if (kGroups == 2) _tile_loadd(5, source + size_t(blocks) * kTile, 64);
  };
  auto load_panel = [&](int part, int block) {
    const uint16_t* source = panel[part] + size_t(block) * 2 * kTile;
    _tile_loadd(6, source, 64);
    _tile_loadd(7, source + kTile, 64);
  };
  auto add_products = [] {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (kGroups == 2) {
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  };
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int block = 0; block < blocks; ++block) {
    load_panel(0, block);
    for (int part = 2; part >= 0; --part) {
      load_rows(part, block);
      add_products();
    }
    load_panel(1, block);
    add_products();
    load_rows(1, block);
    add_products();
  }
  _tile_stored(0, y, 64);
  _tile_stored(1, y + 256, 64);
  if (kGroups == 2) {
    _tile_stored(2, y + 512, 64);
    _tile_stored(3, y + 768, 64);
  }
}

// Fetches the tile that comes two tiles after this one. Asked for tile by tile, not in greater portions: a core waits
// for no more than about sixteen lines at a time.
inline void fetch_ahead(const void* tile) {
  constexpr int kBytes = kTile * sizeof(uint16_t);
  for (int line = 0; line < kBytes; line += 64) __builtin_prefetch(static_cast<const char*>(tile) + 2 * kBytes + line);
}

// A group of rows times one or two panels of bfloats as they lie in memory, [panels, blocks, 2, 16, 32]:
// y [panels, 2, 16, 16]. As above, without the weights' second part. `kFetches`: they come from afar.
template <int kPanels, bool kFetches>
inline void multiply(const Split& rows, const uint16_t* panel, int group, int blocks, float* y) {
  const uint16_t* other = panel + size_t(blocks) * 2 * kTile;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int block = 0; block < blocks; ++block) {
    const size_t row = (size_t(group) * blocks + block) * kTile, column = size_t(block) * 2 * kTile;
    _tile_loadd(4, rows[0] + row, 64);
    _tile_loadd(5, rows[1] + row, 64);
    _tile_loadd(6, rows[2] + row, 64);
#define POLYDRAFT_ADD(sum, weights)     \
  if (kFetches) fetch_ahead(weights);   \
  _tile_loadd(7, weights, 64);          \
  _tile_dpbf16ps(sum, 6, 7);            \
  _tile_dpbf16ps(sum, 5, 7);            \
  _tile_dpbf16ps(sum, 4, 7);
    POLYDRAFT_ADD(0, panel + column)
    POLYDRAFT_ADD(1, panel + column + kTile)
    if (kPanels == 2) {
      POLYDRAFT_ADD(2, other + column)
      POLYDRAFT_ADD(3, other + column + kTile)
    }
#undef POLYDRAFT_ADD
  }
  _tile_stored(0, y, 64);
  _tile_stored(1, y + 256, 64);
  if (kPanels == 2) {
    _tile_stored(2, y + 512, 64);
    _tile_stored(3, y + 768, 64);
  }
}

}  // namespace tiles

#endif
