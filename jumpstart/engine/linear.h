// Linear layers on blocks of points, in tiles that stay in registers.
//
// Where a tile reads its inputs, it applies the activation F to them: Identity to what is an output already.
#pragma once
#include "activation.h"

namespace {

// Outputs, or inputs, that one tile computes at a time: as many as the registers hold.
enum { THIN_TILE = 4, WIDE_TILE = LANES == 16 ? 12 : 6, WIDE = 12 };

// out[o] = bias[o] + sum over i of weights[o * row + i * column] * in[i], of N outputs of one block.
template <int N, class F>
INLINE void product_tile(int inputs, const float *weights, int row, int column, const float *bias, const float *in,
                         float *out)
{
    Vector total[N][PARTS];
    for (int o = 0; o < N; o++)
        for (int k = 0; k < PARTS; k++)
            total[o][k] = bias ? splat(bias[o]) : Vector{};
    for (int i = 0; i < inputs; i++) {
        Vector x[PARTS];
        for (int k = 0; k < PARTS; k++)
            x[k] = F::value(load(in + i * BLOCK + k * LANES));
        for (int o = 0; o < N; o++) {
            Vector weight = splat(weights[o * row + i * column]);
            for (int k = 0; k < PARTS; k++)
                total[o][k] += weight * x[k];
        }
    }
    for (int o = 0; o < N; o++)
        for (int k = 0; k < PARTS; k++)
            store(out + o * BLOCK + k * LANES, total[o][k]);
}

// A tile of `size` outputs, at most N.
template <int N, class F>
INLINE void product_tile_of(int size, int inputs, const float *weights, int row, int column, const float *bias,
                            const float *in, float *out)
{
    if constexpr (N > 1) {
        if (size < N)
            return product_tile_of<N - 1, F>(size, inputs, weights, row, column, bias, in, out);
    }
    product_tile<N, F>(inputs, weights, row, column, bias, in, out);
}

// All outputs, in tiles of nearly equal size: a small one would wait for its own results.
template <int TILE, class F>
INLINE void product_in_tiles(int outputs, int inputs, const float *weights, int row, int column, const float *bias,
                             const float *in, float *out)
{
    const int tiles = (outputs + TILE - 1) / TILE, least = outputs / tiles, longer = outputs % tiles;
    for (int tile = 0, o = 0; tile < tiles; tile++) {
        const int size = least + (tile < longer);
        product_tile_of<TILE, F>(size, inputs, weights + (int64_t)o * row, row, column, bias ? bias + o : nullptr, in,
                                 out + o * BLOCK);
        o += size;
    }
}

template <class F>
INLINE void product(int outputs, int inputs, const float *weights, int row, int column, const float *bias,
                    const float *in, float *out)
{
    if (outputs >= WIDE)
        product_in_tiles<WIDE_TILE, F>(outputs, inputs, weights, row, column, bias, in, out);
    else
        product_in_tiles<THIN_TILE, F>(outputs, inputs, weights, row, column, bias, in, out);
}

// The outputs of a linear layer, for one block.
template <class F>
INLINE void forward_product(int outputs, int inputs, const float *weights, const float *in, float *out)
{
    product<F>(outputs, inputs, weights, inputs, 1, weights + (int64_t)outputs * inputs, in, out);
}
// The gradient of its inputs, from that of its outputs.
INLINE void backward_product(int outputs, int inputs, const float *weights, const float *gradient, float *out)
{
    product<Identity>(inputs, outputs, weights, 1, inputs, nullptr, gradient, out);
}

// The gradient of O x I weights: sums over all points of gradient[o] * in[i]. With Bias, that of O biases too.
template <int O, int I, bool Bias, class F>
INLINE void weight_tile(int blocks, int outputs, int inputs, const float *gradient, const float *in, float *out, float *bias)
{
    Vector total[I][4] = {}, plain[4] = {};
    for (int b = 0; b < blocks; b++, gradient += outputs * BLOCK, in += inputs * BLOCK)
        for (int k = 0; k < PARTS; k++) {
            Vector x[I];
            for (int i = 0; i < I; i++)
                x[i] = F::value(load(in + i * BLOCK + k * LANES));
            for (int o = 0; o < O; o++) {
                Vector g = load(gradient + o * BLOCK + k * LANES);
                for (int i = 0; i < I; i++)
                    total[i][o] += g * x[i];
                if (Bias)
                    plain[o] += g;
            }
        }
    float sums[4];
    for (int i = 0; i < I; i++) {
        sum_four(total[i], sums);
        for (int o = 0; o < O; o++)
            out[o * inputs + i] = sums[o];
    }
    if (Bias) {
        sum_four(plain, sums);
        for (int o = 0; o < O; o++)
            bias[o] = sums[o];
    }
}

template <int O, class F>
INLINE void weight_rows(int blocks, int outputs, int inputs, const float *gradient, const float *in, float *out, float *bias)
{
    enum { I = LANES == 16 ? 6 : 3 };
    int i = 0;
    if (inputs == 1)
        return weight_tile<O, 1, true, F>(blocks, outputs, inputs, gradient, in, out, bias);
    weight_tile<O, 2, true, F>(blocks, outputs, inputs, gradient, in, out, bias);
    for (i = 2; i + I <= inputs && inputs >= WIDE; i += I)
        weight_tile<O, I, false, F>(blocks, outputs, inputs, gradient, in + i * BLOCK, out + i, bias);
    for (; i + 2 <= inputs; i += 2)
        weight_tile<O, 2, false, F>(blocks, outputs, inputs, gradient, in + i * BLOCK, out + i, bias);
    if (i < inputs)
        weight_tile<O, 1, false, F>(blocks, outputs, inputs, gradient, in + i * BLOCK, out + i, bias);
}

// The gradient of the weights and the bias of a linear layer.
template <class F>
INLINE void weight_gradient(int blocks, int outputs, int inputs, const float *gradient, const float *in, float *out)
{
    float *bias = out + (int64_t)outputs * inputs;
    int o = 0;
    for (; o + 4 <= outputs; o += 4)
        weight_rows<4, F>(blocks, outputs, inputs, gradient + o * BLOCK, in, out + (int64_t)o * inputs, bias + o);
    gradient += o * BLOCK;
    out += (int64_t)o * inputs;
    if (outputs - o == 3)
        weight_rows<3, F>(blocks, outputs, inputs, gradient, in, out, bias + o);
    else if (outputs - o == 2)
        weight_rows<2, F>(blocks, outputs, inputs, gradient, in, out, bias + o);
    else if (outputs - o == 1)
        weight_rows<1, F>(blocks, outputs, inputs, gradient, in, out, bias + o);
}

} // namespace
