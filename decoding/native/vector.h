// Vectors of floats in the width of the machine: AVX-512, AVX2, or four lanes in plain C++.
//
// Written on the vector extension of GCC and Clang; only what it cannot say is spelt in intrinsics. Every
// operation rounds as IEEE says, so a value never depends on the lane or the group that computed it.

#pragma once

#include <cstdint>

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define POLYDRAFT_AVX512 1
#include <immintrin.h>
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define POLYDRAFT_AVX2 1
#include <immintrin.h>
#endif

namespace {

#if POLYDRAFT_AVX512
constexpr int kLanes = 16, kPanelVectors = 2, kMaxRows = 12;  // 24 accumulators of 32 registers
#elif POLYDRAFT_AVX2
constexpr int kLanes = 8, kPanelVectors = 2, kMaxRows = 6;  // 12 of 16
#else
constexpr int kLanes = 4, kPanelVectors = 2, kMaxRows = 4;
#endif

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef int32_t Integers __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Words __attribute__((vector_size(kLanes * 4)));
typedef float Quad __attribute__((vector_size(16)));
typedef float VectorInMemory __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef uint16_t HalvesInMemory __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));

inline Vector load(const float* source) { return *reinterpret_cast<const VectorInMemory*>(source); }
inline void store(float* target, Vector value) { *reinterpret_cast<VectorInMemory*>(target) = value; }

#if POLYDRAFT_AVX512
inline Vector splat(float value) { return _mm512_set1_ps(value); }
inline Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline Quad fold(Vector v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}
inline Vector widen_half(const uint16_t* source) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source)));
}
#elif POLYDRAFT_AVX2
inline Vector splat(float value) { return _mm256_set1_ps(value); }
inline Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Quad fold(Vector v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }
inline Vector widen_half(const uint16_t* source) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source)));
}
#else
inline Vector splat(float value) { return Vector{value, value, value, value}; }
inline Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
inline Quad fold(Vector v) { return v; }
inline Vector widen_half(const uint16_t* source) {
  // Exponent and mantissa moved into place, then the exponent's bias put right: exact, subnormals included.
  Words bits = __builtin_convertvector(*reinterpret_cast<const HalvesInMemory*>(source), Words);
  Vector magnitude = reinterpret_cast<Vector>((bits & 0x7fffu) << 13) * 0x1p112f;
  return reinterpret_cast<Vector>(reinterpret_cast<Words>(magnitude) | ((bits & 0x8000u) << 16));
}
#endif

// Sums of four vectors at once: horizontal additions cost more than the products of a short head.
inline Quad sums(Vector a, Vector b, Vector c, Vector d) {
  const Quad rows[4] = {fold(a), fold(b), fold(c), fold(d)};
  Quad columns[4];
  for (int i = 0; i < 4; ++i) columns[i] = Quad{rows[0][i], rows[1][i], rows[2][i], rows[3][i]};
  return (columns[0] + columns[2]) + (columns[1] + columns[3]);
}

inline float sum(Vector v) {
  const Quad four = fold(v);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

inline Vector widen_bfloat(const uint16_t* source) {
  Words bits = __builtin_convertvector(*reinterpret_cast<const HalvesInMemory*>(source), Words);
  return reinterpret_cast<Vector>(bits << 16);
}

// e^x within 2 units in the last place; arguments beyond the float range saturate.
inline Vector exponential(Vector x) {
  x = x < -87.0f ? splat(-87.0f) : x;
  x = x > 88.0f ? splat(88.0f) : x;
  const Vector rounder = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vector shifted = fma(x, splat(1.44269504f), rounder);
  const Vector whole = shifted - rounder;
  Vector rest = fma(whole, splat(-0.693359375f), x);
  rest = fma(whole, splat(2.12194440e-4f), rest);
  Vector series = splat(1.9875691500e-4f);
  series = fma(series, rest, splat(1.3981999507e-3f));
  series = fma(series, rest, splat(8.3334519073e-3f));
  series = fma(series, rest, splat(4.1665795894e-2f));
  series = fma(series, rest, splat(1.6666665459e-1f));
  series = fma(series, rest, splat(5.0000001201e-1f));
  series = fma(series, rest * rest, rest) + splat(1.0f);
  const Integers power = (reinterpret_cast<Integers>(shifted) - 0x4b400000 + 127) << 23;
  return series * reinterpret_cast<Vector>(power);
}

inline float dot(const float* a, const float* b, int size) {
  Vector total = splat(0.0f);
  int i = 0;
  for (; i + kLanes <= size; i += kLanes) total = fma(load(a + i), load(b + i), total);
  float result = sum(total);
  for (; i < size; ++i) result += a[i] * b[i];
  return result;
}

}  // namespace
