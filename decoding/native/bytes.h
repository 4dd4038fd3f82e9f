// Products of bytes on AMX tiles: weights of drafts, where rounding costs a few right guesses and never an answer.
//
// A draft's weights are read anew between two passes of the target, which drives them from the near caches, so half the
// bytes are half the time. A weight is a byte times the scale of its output; a row is the sum of two bytes times a scale
// of its own, 15 bits, so that only the weights are rounded noticeably. Sums are integers and exact, and a row's scale
// comes from that row alone: its result does not depend on its neighbours.

#pragma once

#include "tiles.h"

#if POLYDRAFT_TILES && defined(__AMX_INT8__)
#define POLYDRAFT_BYTES 1

namespace bytes {

using tiles::kColumns;
using tiles::kRows;

constexpr int kDepth = 64;              // inputs of one tile operation
constexpr int kTile = kRows * kDepth;   // bytes of a factor
constexpr float kFine = 254.0f;         // the second byte counts what the first has left over, half a step at most

inline int blocks(int inputs) { return (inputs + kDepth - 1) / kDepth; }

struct Rounded {  // rows: two parts as tiles [group, block, 16, 64], `size` bytes each, and a scale a row
  int8_t* parts;
  size_t size;
  float* scales;
};

inline float largest(const float* x, int size) {
  __m512 tops = _mm512_setzero_ps();
  for (int i = 0; i < size; i += 16) {
    const __mmask16 there = size - i >= 16 ? 0xffff : (1 << (size - i)) - 1;
    tops = _mm512_max_ps(tops, _mm512_abs_ps(_mm512_maskz_loadu_ps(there, x + i)));
  }
  return _mm512_reduce_max_ps(tops);
}

// Groups of `height` rows; what sticks out of the inputs is zero, what is beyond `height` rows of a tile is not written.
inline void round_rows(const float* x, int rows, int height, int inputs, const Rounded& rounded) {
  for (int row = 0; row < rows; ++row) {
    const float* source = x + size_t(row) * inputs;
    const float top = largest(source, inputs);
    const __m512 inverse = _mm512_set1_ps(top > 0.0f ? 127.0f / top : 0.0f);
    rounded.scales[row] = top / 127.0f;
    int8_t* target = rounded.parts + (size_t(row / height) * blocks(inputs) * kRows + row % height) * kDepth;
    for (int k = 0; k < blocks(inputs) * kDepth; k += 16) {
      const int left = inputs - k;
      const __mmask16 there = left <= 0 ? 0 : left >= 16 ? 0xffff : (1 << left) - 1;
      const __m512 value = _mm512_maskz_loadu_ps(there, source + k) * inverse;
      const __m512i whole = _mm512_cvtps_epi32(value);
      const __m512i rest = _mm512_cvtps_epi32((value - _mm512_cvtepi32_ps(whole)) * _mm512_set1_ps(kFine));
      int8_t* place = target + k / kDepth * kTile + k % kDepth;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(place), _mm512_cvtepi32_epi8(whole));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(place + rounded.size), _mm512_cvtepi32_epi8(rest));
    }
  }
}

// A group of rows times a panel [blocks, 2, 16, 64]: y [2 halves of the panel, 2 parts of the rows, 16, 16], integers.
template <bool kFetches>
inline void multiply(const Rounded& rows, const int8_t* panel, int group, int blocks, int32_t* y) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int block = 0; block < blocks; ++block, panel += 2 * kTile) {
    const int8_t* source = rows.parts + (size_t(group) * blocks + block) * kTile;
    if (kFetches) tiles::fetch_ahead(panel);
    _tile_loadd(4, source, 64);
    _tile_loadd(5, source + rows.size, 64);
    _tile_loadd(6, panel, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 5, 6);
    if (kFetches) tiles::fetch_ahead(panel + kTile);
    _tile_loadd(7, panel + kTile, 64);
    _tile_dpbssd(2, 4, 7);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, y, 64);
  _tile_stored(1, y + 256, 64);
  _tile_stored(2, y + 512, 64);
  _tile_stored(3, y + 768, 64);
}

// One row of one half: 16 outputs.
inline __m512 scaled(const int32_t* whole, const int32_t* rest, float row_scale, const float* scales) {
  const __m512 sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(rest)) * _mm512_set1_ps(1.0f / kFine) +
                     _mm512_cvtepi32_ps(_mm512_loadu_si512(whole));
  return sum * (_mm512_set1_ps(row_scale) * _mm512_loadu_ps(scales));
}

}  // namespace bytes

#endif
