// Linear layers on blocks of points, in tiles that stay in registers.
//
// Where a tile reads its inputs, it applies the activation F to them: Identity to what is an output already.
#pragma once
#include "activation.h"

namespace {

// Outputs, or inputs, that one tile computes at a time: as many as the registers hold.
enum { THIN_TILE = 4, WIDE_TILE = LANES == 16 ? 12 : 6, WIDE = 12 };

// Takes the values of a layer as they are computed: one unit of one block at a time.
class Storing {
  public:
    Storing(float *values, int units) : to(values), size(units * BLOCK) {}
    INLINE void begin(int) {}
    INLINE void take(int unit, const Vector (&values)[PARTS])
    {
        for (int k = 0; k < PARTS; k++)
            store(to + unit * BLOCK + k * LANES, values[k]);
    }
    INLINE void end(int) { to += size; }

  private:
    float *to;
    const int size;
};

// One product of a matrix and the values of a block: output o is the sum of weights[o * row + i * column] * in[i].
struct Product {
    int outputs, inputs;
    const float *weights;
    int row, column;
    const float *bias, *in;
};

// The outputs of a product from `first` on, N of them, for a sink.
template <int N, class F, class Sink> INLINE void product_tile(const Product &p, int first, Sink &sink)
{
    const float *weights = p.weights + (int64_t)first * p.row;
    Vector total[N][PARTS];
    for (int o = 0; o < N; o++)
        for (int k = 0; k < PARTS; k++)
            total[o][k] = p.bias ? splat(p.bias[first + o]) : Vector{};
    for (int i = 0; i < p.inputs; i++) {
        Vector x[PARTS];
        for (int k = 0; k < PARTS; k++)
            x[k] = F::value(load(p.in + i * BLOCK + k * LANES));
        for (int o = 0; o < N; o++) {
            Vector weight = splat(weights[o * p.row + i * p.column]);
            for (int k = 0; k < PARTS; k++)
                total[o][k] += weight * x[k];
        }
    }
    for (int o = 0; o < N; o++)
        sink.take(first + o, total[o]);
}

// A tile of `size` outputs, at most N.
template <int N, class F, class Sink> INLINE void product_tile_of(int size, const Product &p, int first, Sink &sink)
{
    if constexpr (N > 1) {
        if (size < N)
            return product_tile_of<N - 1, F>(size, p, first, sink);
    }
    product_tile<N, F>(p, first, sink);
}

// All outputs, in tiles of nearly equal size: a small one would wait for its own results.
template <int TILE, class F, class Sink> INLINE void product_in_tiles(const Product &p, Sink &sink)
{
    const int tiles = (p.outputs + TILE - 1) / TILE, least = p.outputs / tiles, longer = p.outputs % tiles;
    for (int tile = 0, o = 0; tile < tiles; tile++) {
        const int size = least + (tile < longer);
        product_tile_of<TILE, F>(size, p, o, sink);
        o += size;
    }
}

template <class F, class Sink> INLINE void product(const Product &p, Sink &sink)
{
    if (p.outputs >= WIDE)
        product_in_tiles<WIDE_TILE, F>(p, sink);
    else
        product_in_tiles<THIN_TILE, F>(p, sink);
}

// The outputs of a linear layer, for all blocks.
template <class F, class Sink>
INLINE void forward_product(int blocks, int outputs, int inputs, const float *weights, const float *in, Sink &sink)
{
    for (int b = 0; b < blocks; b++, in += inputs * BLOCK) {
        sink.begin(b);
        product<F>({outputs, inputs, weights, inputs, 1, weights + (int64_t)outputs * inputs, in}, sink);
        sink.end(b);
    }
}
// The gradient of its inputs, from that of its outputs.
template <class Sink>
INLINE void backward_product(int blocks, int outputs, int inputs, const float *weights, const float *gradient, Sink &sink)
{
    for (int b = 0; b < blocks; b++, gradient += outputs * BLOCK) {
        sink.begin(b);
        product<Identity>({inputs, outputs, weights, 1, inputs, nullptr, gradient}, sink);
        sink.end(b);
    }
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
