// Exponential, logarithm, hyperbolic tangent and error function of vectors, to about one unit in the last place.
//
// The coefficients are least-squares fits that `scripts/fit_functions.py` prints.
#pragma once
#include "vector.h"

namespace {

template <int N> INLINE Vector polynomial(Vector x, const float (&coefficients)[N])
{
    Vector y = splat(coefficients[N - 1]);
    for (int i = N - 2; i >= 0; i--)
        y = y * x + coefficients[i];
    return y;
}

// exp(x) = power (1 + rest), where rest is exp(r) - 1 of |r| <= log(2) / 2. If x is not a number, nor is rest.
struct Exponential {
    Vector power, rest;
};
INLINE Exponential split_exponential(Vector x)
{
    // 1.5 * 2^23: adding and subtracting it rounds to an integer. 127 is the bias of an exponent.
    const float ROUND = 12582912.0f + 127.0f;
    Vector shifted = x * 1.44269504f + ROUND, n = shifted - ROUND;
    Vector r = x - n * 0.693359375f; // log(2) in two parts, of which the first is exact in few bits
    r = r - n * -2.12194440e-4f;
    const float p[] = {5.000000014e-01f, 1.666666676e-01f, 4.166645678e-02f,
                       8.333284106e-03f, 1.393454423e-03f, 1.990890426e-04f};
    return {(Vector)((Mask)shifted << 23), polynomial(r, p) * (r * r) + r};
}

// exp(x); 0 below -87, and the value at 88 above 88.
INLINE Vector exponential(Vector x)
{
    Vector inside = smaller(splat(88.0f), larger(splat(-87.0f), x));
    Exponential e = split_exponential(inside);
    return keep((e.rest + 1.0f) * e.power, ~(x < -87.0f));
}

// exp(x) - 1 for x <= 0, exact to its own last place also near 0.
INLINE Vector exponential_minus_one(Vector x)
{
    Exponential e = split_exponential(larger(splat(-87.0f), x));
    return select(e.power == 1.0f, e.rest, (e.rest + 1.0f) * e.power - 1.0f);
}

// log((1 + s) / (1 - s)) for 0 <= |s| <= 1/3.
INLINE Vector log_ratio(Vector s)
{
    const float p[] = {3.333333332e-01f, 2.000000586e-01f, 1.428511535e-01f,
                       1.113337793e-01f, 8.721051930e-02f, 1.043727775e-01f};
    Vector square = s * s;
    Vector twice = s + s;
    return twice + twice * square * polynomial(square, p);
}

// log(1 + x) for 0 <= x <= 1.
INLINE Vector log_one_plus(Vector x) { return log_ratio(x / (x + 2.0f)); }

// log(x) for x >= 1.
INLINE Vector logarithm(Vector x)
{
    Mask bits = (Mask)x, power = ((bits >> 23) & 255) - 127;
    Vector m = (Vector)((bits & 0x007fffff) | 0x3f800000); // in [1, 2)
    Mask big = m > 1.41421356f;
    m = select(big, m * 0.5f, m);
    power = power - big;
    Vector n = __builtin_convertvector(power, Vector);
    return n * 0.693359375f + (n * -2.12194440e-4f + log_ratio((m - 1.0f) / (m + 1.0f)));
}

INLINE Vector hyperbolic_tangent(Vector x)
{
    Vector e = exponential_minus_one(absolute(x) * -2.0f);
    return with_sign_of(e / (e + 2.0f) * -1.0f, x);
}

// 1 / (1 + exp(-x))
INLINE Vector logistic(Vector x)
{
    Vector e = exponential(absolute(x) * -1.0f), whole = 1.0f / (e + 1.0f);
    return select(x > 0.0f, whole, e * whole);
}

INLINE Vector error_function(Vector x)
{
    const float inner[] = {1.128379166e+00f, -3.761262714e-01f, 1.128360018e-01f, -2.685444459e-02f,
                           5.189535339e-03f, -8.020841280e-04f, 7.889119532e-05f};
    const float outer[] = {2.564366408e-04f, 1.127426125e+00f, 6.375999705e-01f, 1.035669547e-01f,
                           -2.205202911e-02f, 2.999549051e-03f, -1.915050328e-04f};
    Vector size = absolute(x), small = x * polynomial(x * x, inner);
    Vector limited = smaller(splat(4.0f), size);
    Vector big = 1.0f - exponential(polynomial(limited, outer) * -1.0f);
    return select(size < 1.0f, small, with_sign_of(big, x));
}

} // namespace
