// Vectors of floats: arithmetic through the compiler's vector types, and what these lack through intrinsics.
//
// The file is compiled once for each instruction set. LANES is the number of floats in a register of it.
#pragma once
#include <cmath>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE inline __attribute__((always_inline))

namespace {

// Points lie in blocks: a layer is [block][unit][BLOCK], so that a block of a thin layer fits into registers.
enum { BLOCK = 16, PARTS = BLOCK / LANES };

typedef float Vector __attribute__((vector_size(LANES * 4), aligned(LANES * 4), may_alias));
typedef float Unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Mask __attribute__((vector_size(LANES * 4), aligned(LANES * 4), may_alias));

INLINE Vector splat(float x) { return x - Vector{}; }
INLINE Vector load(const float *from) { return *(const Vector *)from; }
INLINE void store(float *to, Vector v) { *(Vector *)to = v; }
INLINE Vector load_unaligned(const float *from) { return (Vector) * (const Unaligned *)from; }
INLINE void store_unaligned(float *to, Vector v) { *(Unaligned *)to = (Unaligned)v; }

INLINE Vector keep(Vector v, Mask mask) { return (Vector)((Mask)v & mask); }
INLINE Vector select(Mask mask, Vector yes, Vector no) { return (Vector)(((Mask)yes & mask) | ((Mask)no & ~mask)); }
INLINE Vector absolute(Vector v) { return (Vector)((Mask)v & 0x7fffffff); }
INLINE Vector with_sign_of(Vector magnitude, Vector sign)
{
    return (Vector)((Mask)magnitude | ((Mask)sign & (int32_t)0x80000000));
}

// The larger and the smaller of two values. If one is not a number, the result is the second.
INLINE Vector larger(Vector a, Vector b)
{
#if defined(__AVX512F__)
    return (Vector)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (Vector)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (Vector)_mm_max_ps((__m128)a, (__m128)b);
#else
    return select(a > b, a, b);
#endif
}
INLINE Vector smaller(Vector a, Vector b)
{
#if defined(__AVX512F__)
    return (Vector)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (Vector)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (Vector)_mm_min_ps((__m128)a, (__m128)b);
#else
    return select(a < b, a, b);
#endif
}

INLINE Vector square_root(Vector v)
{
#if defined(__AVX512F__)
    return (Vector)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
    return (Vector)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
    return (Vector)_mm_sqrt_ps((__m128)v);
#else
    for (int i = 0; i < LANES; i++)
        v[i] = std::sqrt(v[i]);
    return v;
#endif
}

INLINE bool any(Mask mask)
{
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#else
    int32_t found = 0;
    for (int i = 0; i < LANES; i++)
        found |= mask[i];
    return found != 0;
#endif
}

#if defined(__x86_64__)
// The lanes folded to four.
INLINE __m128 folded_sum(Vector v)
{
#if defined(__AVX512F__)
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)v),
                                _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)v), 1)));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
    return _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
#else
    return (__m128)v;
#endif
}
#endif

INLINE float sum(Vector v)
{
#if defined(__x86_64__)
    __m128 four = folded_sum(v);
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
#else
    float total = 0;
    for (int i = 0; i < LANES; i++)
        total += v[i];
    return total;
#endif
}

// The sums of four vectors at once, for a third of the cost of four sums.
INLINE void sum_four(const Vector v[4], float out[4])
{
#if defined(__x86_64__)
    __m128 rows[4] = {folded_sum(v[0]), folded_sum(v[1]), folded_sum(v[2]), folded_sum(v[3])};
    _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
    _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(rows[0], rows[1]), _mm_add_ps(rows[2], rows[3])));
#else
    for (int i = 0; i < 4; i++)
        out[i] = sum(v[i]);
#endif
}

INLINE float largest(Vector v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#elif defined(__AVX2__)
    __m128 four = _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
#else
    float top = v[0];
    for (int i = 1; i < LANES; i++)
        top = v[i] > top ? v[i] : top;
    return top;
#endif
}

} // namespace
