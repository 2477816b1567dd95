// Forward and backward pass of one batch.
//
// `Width` is the width of the hidden layers if the compiler knows it, which unrolls the loops over units; else 0.
#pragma once
#include "linear.h"
#include "observe.h"
#include "ties.h"
#include <utility>

namespace {

template <int Width> class Network {
  public:
    Network(const Member &member, Workspace &workspace) : m(member), space(workspace) {}

    // Read a batch whose inputs lie in `x`: its logits, losses and extrema. A pass for training keeps what backward()
    // needs, and normalizes by the batch.
    void forward(const float *x, const int32_t *y, int count, bool training, Pass &pass)
    {
        points = count;
        blocks = blocks_of(count);
        inputs = x;
        labels = y;
        pass = Pass{};
        const int kept = blocks * BLOCK;
        for (int q = 0; q < kept; q++) {
            space.valid[q] = q < count;
            space.last_dead[q] = space.dead[q] = space.linear_layers[q] = 0;
        }
        for (int l = 0; l < m.depth; l++)
            forward_layer(l, training, pass);
        forward_output(training, pass);
        close_penalty(m, space, pass, points);
    }

    // The gradient of the task loss plus lambda times the Jumpstart loss, with respect to every parameter.
    void backward(const Pass &pass, float lambda)
    {
        const HingeWeights weights = hinge_weights(m, space, points);
        for (int side = 0; side < 2; side++) {
            unit_weight[side] = (float)(lambda * weights.unit[side]);
            point_weight[side] = (float)(lambda * weights.point[side]);
        }
        penalizes_points = point_weight[0] != 0 || point_weight[1] != 0;
        if (m.ties == RANDOM)
            choices = Choices(m.seed, m.epoch, m.step);
        float *above = space.gradient, *here = space.below;
        if (m.capture_output)
            penalize<Identity>(pass, m.classes, space.logits, above, m.depth);
        for (int l = m.depth; l >= 0; l--) {
            if (l < m.depth) {
                backward_layer(pass, l, m.weights + offset(l + 1), above, here);
                std::swap(above, here);
            }
            float *found = space.parameter_gradient + offset(l);
            const int units = l == m.depth ? m.classes : width();
            if (l == 0)
                weight_gradient<Identity>(blocks, units, m.features, above, inputs, found);
            else
                with_outputs(l - 1, [&](auto kind, const float *values) {
                    if (l == m.depth)
                        weight_gradient<decltype(kind)>(blocks, units, width(), above, values, found);
                    else
                        weight_gradient<decltype(kind)>(blocks, width(), width(), above, values, found);
                });
        }
    }

    // The first captured layer with a value that is not finite; the number of layers, or one more, for the task loss
    // and the Jumpstart loss.
    int first_not_finite(const Pass &pass) const
    {
        for (int l = 0; l < space.captured; l++) {
            const bool output = l == m.depth;
            const int units = output ? m.classes : width();
            const float *values = output ? space.logits : captured(l);
            for (int b = 0; b < blocks; b++)
                for (int i = 0; i < units * BLOCK; i++)
                    if (!std::isfinite(values[(int64_t)b * units * BLOCK + i]))
                        return l;
        }
        return std::isfinite(pass.loss) ? space.captured + 1 : space.captured;
    }

  private:
    const Member &m;
    Workspace &space;
    int points = 0, blocks = 0;
    const float *inputs = nullptr;
    const int32_t *labels = nullptr;
    float unit_weight[2], point_weight[2];
    bool penalizes_points = false;
    Choices choices; // between equal extrema

    INLINE int width() const { return Width ? Width : m.width; }

    // The place of a layer's parameters; layer `depth` is the output layer.
    int64_t offset(int layer) const
    {
        const int64_t norm = m.batchnorm ? 2 * width() : 0, first = (int64_t)width() * m.features + width() + norm;
        return layer ? first + (layer - 1) * ((int64_t)width() * width() + width() + norm) : 0;
    }
    int64_t layer_size() const { return (int64_t)space.blocks * width() * BLOCK; }
    float *preactivations(int l) const { return space.z + l * layer_size(); }
    float *linear_outputs(int l) const { return space.keeps_linear ? space.linear + l * layer_size() : preactivations(l); }
    const float *captured(int l) const { return m.capture_weights ? linear_outputs(l) : preactivations(l); }
    bool joins(int l) const { return m.skip && l % m.skip_span == 0; }
    bool adds(int l) const { return joins(l) && l > 0; }

    // Call with the outputs of a layer: as they are stored, or as preactivations and the activation to apply to them.
    template <class Call> INLINE void with_outputs(int l, Call call) const
    {
        if (space.keeps_outputs)
            call(Identity{}, space.h + l * layer_size());
        else
            call(Relu{}, preactivations(l));
    }
    // Add the outputs of the layer at the other end of a skip connection.
    void add_carried(int l, float *values) const
    {
        with_outputs(l - m.skip_span, [&](auto kind, const float *carried) {
            for (int i = 0; i < vectors(); i++)
                store(values + i * LANES, load(values + i * LANES) + decltype(kind)::value(load(carried + i * LANES)));
        });
    }
    // Vectors in the values of a hidden layer.
    int vectors() const { return blocks * width() * PARTS; }

    // Forward -------------------------------------------------------------------------------------------------------

    void forward_layer(int l, bool training, Pass &pass)
    {
        float *linear = linear_outputs(l), *z = preactivations(l);
        const bool is_added_to = m.skip == BEFORE_ACTIVATION && adds(l);
        Reader reader(m, space, width(), l);
        if (!space.keeps_linear && !is_added_to) {
            ReadingAndStoring both(reader, z, width());
            multiply(l, both);
        } else {
            Storing storing(linear, width());
            multiply(l, storing);
            if (m.batchnorm)
                normalize(l, training, linear, z);
            else if (space.keeps_linear)
                std::memcpy(z, linear, sizeof(Vector) * vectors());
            if (is_added_to)
                add_carried(l, z);
            reader.read(captured(l), blocks);
        }
        reader.close(captured(l), blocks, training, l * width(), pass);
        if (space.keeps_outputs)
            activate(l, z, space.h + l * layer_size());
    }

    // The outputs of a linear layer, for a sink.
    template <class Sink> INLINE void multiply(int l, Sink &sink)
    {
        const float *weights = m.weights + offset(l);
        if (l == 0)
            return forward_product<Identity>(blocks, width(), m.features, weights, inputs, sink);
        with_outputs(l - 1, [&](auto kind, const float *values) {
            forward_product<decltype(kind)>(blocks, width(), width(), weights, values, sink);
        });
    }

    void activate(int l, const float *z, float *h) const
    {
        for_activation(m.activation, [&](auto kind) {
            for (int i = 0; i < vectors(); i++)
                store(h + i * LANES, decltype(kind)::value(load(z + i * LANES)));
        });
        if (m.skip == AFTER_ACTIVATION && adds(l))
            add_carried(l, h);
    }

    // Batch normalization: by the statistics of the batch in training, which also move the running ones.
    void normalize(int l, bool training, const float *linear, float *z)
    {
        const float *gain = m.weights + offset(l) + (int64_t)width() * (l ? width() : m.features) + width(), *shift = gain + width();
        float *running = m.running + 2 * (int64_t)l * width(), *mean = space.mean + (int64_t)l * width(),
              *scale = space.scale + (int64_t)l * width();
        for (int u = 0; u < width(); u++) {
            double average = running[u], variance = running[width() + u];
            if (training) {
                average = mean_of(linear + u * BLOCK, 0, false);
                variance = mean_of(linear + u * BLOCK, (float)average, true);
                running[u] = 0.9f * running[u] + 0.1f * (float)average;
                running[width() + u] = 0.9f * running[width() + u] + 0.1f * (float)(variance * points / (points - 1));
            }
            mean[u] = (float)average;
            scale[u] = (float)(1 / std::sqrt(variance + 1e-5));
        }
        for (int b = 0; b < blocks; b++)
            for (int u = 0; u < width(); u++) {
                const int64_t at = ((int64_t)b * width() + u) * BLOCK;
                for (int k = 0; k < PARTS; k++)
                    store(z + at + k * LANES, (load(linear + at + k * LANES) - mean[u]) * (scale[u] * gain[u]) + shift[u]);
            }
    }
    // The mean over points of the distances, or of their squares, from a center.
    double mean_of(const float *values, float center, bool squared) const
    {
        Vector total{};
        for (int b = 0; b < blocks; b++, values += width() * BLOCK)
            for (int k = 0; k < PARTS; k++) {
                Vector v = load(values + k * LANES) - center;
                total += load(space.valid + b * BLOCK + k * LANES) * (squared ? v * v : v);
            }
        return (double)sum(total) / points;
    }

    // Logits, cross-entropy, accuracy, and the gradient of the logits.
    void forward_output(bool training, Pass &pass)
    {
        const float *weights = m.weights + offset(m.depth);
        const int classes = m.classes;
        Storing storing(space.logits, classes);
        with_outputs(m.depth - 1, [&](auto kind, const float *values) {
            forward_product<decltype(kind)>(blocks, classes, width(), weights, values, storing);
        });
        Vector loss{}, correct{};
        for (int b = 0; b < blocks; b++)
            for (int k = 0; k < PARTS; k++) {
                const int64_t at = (int64_t)b * classes * BLOCK + k * LANES;
                cross_entropy(space.logits + at, space.gradient + at, b * BLOCK + k * LANES, loss, correct);
            }
        pass.loss = (double)sum(loss) / points;
        pass.correct = sum(correct);
        if (m.capture_output) {
            Reader reader(m, space, classes, m.depth);
            reader.read(space.logits, blocks);
            reader.close(space.logits, blocks, training, m.depth * width(), pass);
        }
    }

    INLINE void cross_entropy(const float *logits, float *gradient, int at, Vector &loss, Vector &correct) const
    {
        const Vector counts = load(space.valid + at);
        const Mask label = *(const Mask *)(labels + at);
        Vector top = load(logits), total{}, own{};
        for (int c = 1; c < m.classes; c++)
            top = larger(top, load(logits + c * BLOCK));
        Mask chosen{};
        for (int c = m.classes - 1; c >= 0; c--) {
            const Vector distance = load(logits + c * BLOCK) - top, e = exponential(distance);
            const Mask best = e == 1.0f; // the first class of the largest probability
            chosen = (chosen & ~best) | ((Mask{} + c) & best);
            own += keep(distance, label == c);
            total += e;
            store(gradient + c * BLOCK, e);
        }
        loss += counts * (logarithm(total) - own);
        correct += keep(counts, chosen == label);
        const Vector weight = counts * (m.use_task_loss ? 1.0f / points : 0.0f), scale = weight / total;
        for (int c = 0; c < m.classes; c++)
            store(gradient + c * BLOCK, load(gradient + c * BLOCK) * scale - keep(weight, label == c));
    }

    // Backward ------------------------------------------------------------------------------------------------------

    INLINE void back_to(int outputs_above, const float *weights, const float *above, float *here) const
    {
        Storing storing(here, width());
        backward_product(blocks, outputs_above, width(), weights, above, storing);
    }

    // The gradient of a layer's linear outputs, from that of the layer above.
    void backward_layer(const Pass &pass, int l, const float *weights_above, const float *above, float *here)
    {
        if (l == m.depth - 1)
            back_to(m.classes, weights_above, above, here);
        else
            back_to(width(), weights_above, above, here);
        const int64_t size = (int64_t)blocks * width() * BLOCK;
        if (joins(l) && l + m.skip_span < m.depth)
            for (int64_t i = 0; i < size; i += LANES)
                store(here + i, load(here + i) + load(space.carried + i));
        if (m.skip == AFTER_ACTIVATION && adds(l))
            std::memcpy(space.carried, here, sizeof(float) * size);
        const float *z = preactivations(l), *h = space.keeps_outputs ? space.h + l * layer_size() : z;
        const bool reads_z = captured(l) == z;
        if (m.activation == RELU && reads_z)
            penalize<Relu>(pass, width(), z, here, l);
        else {
            deactivate(l, z, h, here);
            if (reads_z)
                penalize<Identity>(pass, width(), z, here, l);
        }
        if (m.skip == BEFORE_ACTIVATION && adds(l))
            std::memcpy(space.carried, here, sizeof(float) * size);
        if (m.batchnorm)
            normalize_backward(l, here);
        if (!reads_z)
            penalize<Identity>(pass, width(), captured(l), here, l);
    }

    void deactivate(int l, const float *z, const float *h, float *gradient) const
    {
        const int64_t size = (int64_t)blocks * width() * BLOCK;
        const bool after = m.skip == AFTER_ACTIVATION && adds(l); // the stored outputs contain the skip connection
        for_activation(m.activation, [&](auto kind) {
            for (int64_t i = 0; i < size; i += LANES) {
                Vector v = load(z + i), value = after ? decltype(kind)::value(v) : load(h + i);
                store(gradient + i, decltype(kind)::back(load(gradient + i), v, value));
            }
        });
    }

    // Take a gradient through the activation F, and add that of the hinges of a captured layer.
    template <class F>
    INLINE void penalize(const Pass &pass, int units, const float *values, float *gradient, int layer)
    {
        if (m.ties == SINGLE)
            penalize_points<F, SINGLE>(pass, units, values, gradient, layer);
        else if (m.ties == AVERAGE)
            penalize_points<F, AVERAGE>(pass, units, values, gradient, layer);
        else
            penalize_points<F, RANDOM>(pass, units, values, gradient, layer);
        const int first = layer * width();
        for (int u = 0; u < units; u++) {
            const int32_t *place = space.place + 2 * (int64_t)(first + u);
            const float *hinge = space.hinge + 2 * (int64_t)(first + u);
            if ((place[0] & place[1]) == -1)
                continue;
            float factor[2] = {1, 1};
            if (!is_linear(m)) {
                const float weighted[2] = {(float)m.unit_weight[0] * hinge[0], (float)m.unit_weight[1] * hinge[1]};
                slice_factors(m, pass, weighted, factor);
            }
            for (int side = 0; side < 2; side++)
                if (place[side] >= 0)
                    add_to_unit(units, u, place[side], values, (side ? factor[1] : -factor[0]) * unit_weight[side],
                                2 * (uint64_t)(first + u) + side, gradient);
        }
    }

    // Add to the gradient of a unit at one of the points that have the same value, or a share at each of them.
    void add_to_unit(int units, int unit, int place, const float *values, float added, uint64_t choice, float *gradient) const
    {
        const auto at = [&](int point) { return ((int64_t)(point / BLOCK) * units + unit) * BLOCK + point % BLOCK; };
        if (m.ties == SINGLE) {
            gradient[at(place)] += added;
            return;
        }
        const float extreme = values[at(place)];
        int tied = 0;
        for (int q = place; q < points; q++)
            tied += values[at(q)] == extreme;
        int before = m.ties == RANDOM ? choices.below(tied, choice) : 0;
        for (int q = place; q < points; q++)
            if (values[at(q)] == extreme && (m.ties == AVERAGE || before-- == 0))
                gradient[at(q)] += m.ties == AVERAGE ? added / tied : added;
    }

    template <class F, Ties ties>
    INLINE void penalize_points(const Pass &pass, int units, const float *values, float *gradient, int layer)
    {
        const int64_t size = (int64_t)units * BLOCK;
        for (int b = 0; b < blocks; b++)
            penalize_block<F, ties>(pass, units, values + b * size, gradient + b * size, b, layer);
    }

    template <class F, Ties ties>
    INLINE void penalize_block(const Pass &pass, int units, const float *values, float *gradient, int block, int layer)
    {
        const bool *is_short = space.is_short + ((int64_t)layer * space.blocks + block) * PARTS;
        for (int k = 0; k < PARTS; k++, values += LANES, gradient += LANES) {
            if (!penalizes_points || !is_short[k]) {
                for (int u = 0; u < units; u++) {
                    const Vector v = load(values + u * BLOCK);
                    store(gradient + u * BLOCK, F::back(load(gradient + u * BLOCK), v, v));
                }
                continue;
            }
            Vector most = load(values), least = most, up, down;
            for (int u = 1; u < units; u++) {
                const Vector v = load(values + u * BLOCK);
                most = larger(most, v);
                least = smaller(least, v);
            }
            prepare_points(pass, block * BLOCK + k * LANES, most, least, up, down);
            Vector tops{}, lows{}; // units with the extreme value: how many, or how many come before the chosen one
            if (ties != SINGLE)
                count_ties(units, values, most, least, tops, lows);
            if (ties == AVERAGE) {
                up /= larger(splat(1.0f), tops);
                down /= larger(splat(1.0f), lows);
            }
            if (ties == RANDOM) {
                const uint64_t point = (uint64_t)(layer + 1) << 32 | (uint64_t)(block * BLOCK + k * LANES);
                tops = choices.below(tops, point, 0);
                lows = choices.below(lows, point, 1);
            }
            for (int u = 0; u < units; u++) {
                const Vector v = load(values + u * BLOCK), g = F::back(load(gradient + u * BLOCK), v, v);
                Mask top = v == most, low = v == least;
                // The first unit with the extreme value has the gradient: all bits set equals nothing from then on.
                if (ties == SINGLE) {
                    most = (Vector)((Mask)most | top);
                    least = (Vector)((Mask)least | low);
                }
                if (ties == RANDOM) {
                    top = take_turn(top, tops);
                    low = take_turn(low, lows);
                }
                store(gradient + u * BLOCK, g - keep(up, top) + keep(down, low));
            }
        }
    }

    // The gradients of the hinges of some points; extrema beyond the margin are replaced by what equals nothing.
    INLINE void prepare_points(const Pass &pass, int at, Vector &most, Vector &least, Vector &up, Vector &down) const
    {
        const Vector margin[2] = {splat((float)m.margin[0]), splat((float)m.margin[1])}, counts = load(space.valid + at);
        const Mask enough = most >= margin[0], little = least <= margin[1] * -1.0f;
        up = counts * point_weight[0];
        down = counts * point_weight[1];
        if (!is_linear(m)) {
            const Vector weighted[2] = {larger(Vector{}, margin[0] - most) * (float)m.point_weight[0],
                                        larger(Vector{}, margin[1] + least) * (float)m.point_weight[1]};
            Vector factor[2];
            slice_factors(m, pass, weighted, factor);
            up *= factor[0];
            down *= factor[1];
        }
        most = (Vector)((Mask)most | enough);
        least = (Vector)((Mask)least | little);
    }

    // How many units have the extreme values of each point.
    void count_ties(int units, const float *values, Vector most, Vector least, Vector &tops, Vector &lows) const
    {
        for (int u = 0; u < units; u++) {
            const Vector v = load(values + u * BLOCK);
            tops += keep(splat(1.0f), v == most);
            lows += keep(splat(1.0f), v == least);
        }
    }

    // Where it is the turn of this one of the tied units; afterwards, there is one unit less to wait for.
    static INLINE Mask take_turn(Mask tied, Vector &before)
    {
        const Mask chosen = tied & (before == 0.0f);
        before -= keep(splat(1.0f), tied);
        return chosen;
    }

    void normalize_backward(int l, float *gradient)
    {
        const int in_units = l ? width() : m.features;
        const int64_t own = offset(l) + (int64_t)width() * in_units + width();
        const float *gain = m.weights + own, *mean = space.mean + (int64_t)l * width(), *scale = space.scale + (int64_t)l * width();
        const float *linear = linear_outputs(l);
        for (int u = 0; u < width(); u++) {
            Vector total{}, product{};
            for (int b = 0; b < blocks; b++)
                for (int k = 0; k < PARTS; k++) {
                    const int64_t at = ((int64_t)b * width() + u) * BLOCK + k * LANES;
                    Vector g = load(gradient + at);
                    total += g;
                    product += g * (load(linear + at) - mean[u]);
                }
            const float shift_gradient = sum(total), gain_gradient = sum(product) * scale[u];
            space.parameter_gradient[own + u] = gain_gradient;
            space.parameter_gradient[own + width() + u] = shift_gradient;
            const float average = shift_gradient / points, slope = gain_gradient * scale[u] / points;
            for (int b = 0; b < blocks; b++)
                for (int k = 0; k < PARTS; k++) {
                    const int64_t at = ((int64_t)b * width() + u) * BLOCK + k * LANES;
                    Vector g = load(gradient + at) - average - (load(linear + at) - mean[u]) * slope;
                    store(gradient + at, g * (scale[u] * gain[u]) * load(space.valid + b * BLOCK + k * LANES));
                }
        }
    }
};

} // namespace
