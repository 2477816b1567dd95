// What Jumpstart and the metrics read of a captured layer: the extrema of units and of points.
#pragma once
#include "workspace.h"

namespace {

// The sums over the batches of one epoch, from which the metrics follow.
struct Sums {
    double points, batches, correct, loss, jumpstart, unit_part, point_part;
    double hinges[2]; // of points
    double dead_pairs, linear_pairs, efficient_pairs, points_dead, points_linear, points_nonlinear;
};

// What a pass over one batch has found.
struct Pass {
    double loss, correct, jumpstart, unit_part, point_part;
    double finite;           // a sum of all extrema, which is finite if each of them is
    double unit_hinges[2], point_hinges[2];
    double unit_squares, point_squares; // of the slices, for aggregates that are not linear
};

// The extrema of one layer while its blocks are read.
struct Reader {
    Vector *most, *least;           // (units,) by lane
    Vector hinges[2], squares;      // sums over points
    Vector margin[2], weight[2];    // of points
    bool linear_aggregate;
};

INLINE bool is_linear(const Member &m) { return m.aggregate == BALANCED || m.aggregate == MEAN; }

INLINE void begin_layer(const Member &m, Reader &reader, int units)
{
    for (int u = 0; u < units; u++) {
        reader.most[u] = splat(-INFINITY);
        reader.least[u] = splat(INFINITY);
    }
    reader.squares = Vector{};
    reader.linear_aggregate = is_linear(m);
    for (int side = 0; side < 2; side++) {
        reader.hinges[side] = Vector{};
        reader.margin[side] = splat((float)m.margin[side]);
        reader.weight[side] = splat((float)m.point_weight[side]);
    }
}

// Read one block of a layer: (units, BLOCK) values.
INLINE void read_block(Reader &reader, Workspace &space, int units, const float *values, int block, int layer)
{
    Vector most[PARTS] = {}, least[PARTS] = {};
    for (int u = 0; u < units; u++) {
        Vector v[PARTS];
        for (int k = 0; k < PARTS; k++) {
            v[k] = load(values + u * BLOCK + k * LANES);
            most[k] = u ? larger(most[k], v[k]) : v[k];
            least[k] = u ? smaller(least[k], v[k]) : v[k];
        }
        Vector top = v[0], low = v[0];
        for (int k = 1; k < PARTS; k++) {
            top = larger(top, v[k]);
            low = smaller(low, v[k]);
        }
        reader.most[u] = larger(reader.most[u], top);
        reader.least[u] = smaller(reader.least[u], low);
    }
    for (int k = 0; k < PARTS; k++) {
        const int at = block * BLOCK + k * LANES;
        const Vector counts = load(space.valid + at);
        Vector hinge[2] = {larger(Vector{}, reader.margin[0] - most[k]), larger(Vector{}, reader.margin[1] + least[k])};
        for (int side = 0; side < 2; side++)
            reader.hinges[side] += counts * hinge[side];
        if (!reader.linear_aggregate) {
            Vector slice = reader.weight[0] * hinge[0] + reader.weight[1] * hinge[1];
            reader.squares += counts * slice * slice;
        }
        const Mask dead = most[k] <= 0.0f, linear = least[k] > 0.0f;
        if (any(dead | linear)) {
            Mask *last = (Mask *)(space.last_dead + at), *dead_layers = (Mask *)(space.dead + at),
                 *linear_layers = (Mask *)(space.linear_layers + at);
            *last = (*last & ~dead) | ((Mask{} + (layer + 1)) & dead);
            *dead_layers -= dead;
            *linear_layers -= linear;
        }
    }
}

// The first point at which a unit has the value `extreme`.
INLINE int place_of(const float *values, int stride, int blocks, float extreme)
{
    for (int b = 0; b < blocks; b++, values += stride) {
        Mask found = load(values) == extreme;
        for (int k = 1; k < PARTS; k++)
            found |= load(values + k * LANES) == extreme;
        if (any(found))
            for (int q = 0; q < BLOCK; q++)
                if (values[q] == extreme)
                    return b * BLOCK + q;
    }
    return -1;
}

// Close a layer: the extrema of its units, their hinges, and the places where these have a gradient.
INLINE void end_layer(const Member &m, Reader &reader, Workspace &space, Pass &pass, int units, const float *values,
                      int blocks, int first_unit, bool with_places)
{
    for (int u = 0; u < units; u++) {
        const float extreme[2] = {largest(reader.most[u]), -largest(reader.least[u] * -1.0f)};
        const int unit = first_unit + u;
        double slice = 0;
        for (int side = 0; side < 2; side++) {
            const float reach = side ? -extreme[1] : extreme[0], hinge = (float)m.margin[side] - reach;
            float *far = space.reach + side * space.units + unit;
            *far = reach > *far ? reach : *far;
            pass.finite += reach;
            const bool short_of_margin = hinge > 0;
            space.hinge[2 * unit + side] = short_of_margin ? hinge : 0;
            space.place[2 * unit + side] = -1;
            if (!short_of_margin)
                continue;
            pass.unit_hinges[side] += hinge;
            slice += m.unit_weight[side] * hinge;
            if (with_places && m.unit_weight[side] != 0)
                space.place[2 * unit + side] = place_of(values + u * BLOCK, units * BLOCK, blocks, extreme[side]);
        }
        pass.unit_squares += slice * slice;
    }
    for (int side = 0; side < 2; side++)
        pass.point_hinges[side] += sum(reader.hinges[side]);
    pass.point_squares += sum(reader.squares);
}

// The weight of one hinge in the loss of a batch, before the factor of aggregates that are not linear.
struct HingeWeights {
    double unit[2], point[2];
};
INLINE HingeWeights hinge_weights(const Member &m, const Workspace &space, int points)
{
    double counts[2] = {m.unit_terms ? space.units : 0.0, m.point_terms ? (double)space.captured * points : 0.0};
    if (m.aggregate == MEAN)
        counts[0] = counts[1] = counts[0] + counts[1];
    for (double &count : counts)
        count = count < 1 || !is_linear(m) ? 1 : count;
    return {{m.unit_weight[0] / counts[0], m.unit_weight[1] / counts[0]},
            {m.point_weight[0] / counts[1], m.point_weight[1] / counts[1]}};
}

// The Jumpstart loss of a pass, and its parts.
INLINE void close_penalty(const Member &m, const Workspace &space, Pass &pass, int points)
{
    if (is_linear(m)) {
        const HingeWeights w = hinge_weights(m, space, points);
        pass.unit_part = w.unit[0] * pass.unit_hinges[0] + w.unit[1] * pass.unit_hinges[1];
        pass.point_part = w.point[0] * pass.point_hinges[0] + w.point[1] * pass.point_hinges[1];
        pass.jumpstart = pass.unit_part + pass.point_part;
        return;
    }
    const double squares = pass.unit_squares + pass.point_squares;
    const bool norm = m.aggregate == NORM;
    pass.jumpstart = norm ? std::sqrt(squares) : squares;
    pass.unit_part = norm ? std::sqrt(pass.unit_squares) : pass.unit_squares;
    pass.point_part = norm ? std::sqrt(pass.point_squares) : pass.point_squares;
}

// The factor of a slice's hinges in the gradient, where `slice` is their weighted sum.
template <class T> INLINE T slice_factor(const Member &m, const Pass &pass, T slice)
{
    if (m.aggregate == SUM_OF_SQUARES)
        return slice * 2.0f;
    return slice * (pass.jumpstart > 0 ? (float)(1 / pass.jumpstart) : 0.0f);
}

INLINE void begin_epoch(Workspace &space, Sums &sums)
{
    sums = Sums{};
    for (int u = 0; u < 2 * space.units; u++)
        space.reach[u] = -INFINITY;
}

INLINE void add_to_epoch(Workspace &space, Sums &sums, const Pass &pass, int points)
{
    sums.points += points;
    sums.batches += 1;
    sums.correct += pass.correct;
    sums.loss += pass.loss * points;
    sums.jumpstart += pass.jumpstart;
    sums.unit_part += pass.unit_part;
    sums.point_part += pass.point_part;
    for (int side = 0; side < 2; side++)
        sums.hinges[side] += pass.point_hinges[side];
    int64_t dead = 0, linear = 0, below_dead = 0, points_dead = 0, points_linear = 0, points_nonlinear = 0;
    for (int q = 0; q < points; q++) {
        dead += space.dead[q];
        linear += space.linear_layers[q];
        below_dead += space.last_dead[q];
        points_dead += space.last_dead[q] > 0;
        points_linear += space.linear_layers[q] == space.captured;
        points_nonlinear += space.last_dead[q] == 0 && space.linear_layers[q] == 0;
    }
    sums.dead_pairs += dead;
    sums.linear_pairs += linear;
    sums.efficient_pairs += (double)points * space.captured - below_dead;
    sums.points_dead += points_dead;
    sums.points_linear += points_linear;
    sums.points_nonlinear += points_nonlinear;
}

// The metrics of an epoch, as `jumpstart/metrics.py` and `model/meters.py` define them.
INLINE void write_metrics(const Member &m, const Workspace &space, const Sums &sums, double *out)
{
    double dead = 0, linear = 0, hinges[2] = {};
    for (int u = 0; u < space.units; u++) {
        const float top = space.reach[u], low = -space.reach[space.units + u];
        dead += !(top > 0);
        linear += top > 0 && low > 0;
        hinges[0] += std::fmax(0.0, m.margin[0] - top);
        hinges[1] += std::fmax(0.0, m.margin[1] + low);
    }
    const double units = space.units, points = sums.points, pairs = points * space.captured;
    out[ACCURACY] = sums.correct / points;
    out[LOSS] = sums.loss / points;
    out[JUMPSTART_LOSS] = sums.jumpstart / sums.batches;
    out[JUMPSTART_UNIT_LOSS] = sums.unit_part / sums.batches;
    out[JUMPSTART_POINT_LOSS] = sums.point_part / sums.batches;
    out[UNIT_DEAD] = dead / units;
    out[UNIT_LINEAR] = linear / units;
    out[UNIT_NONLINEAR] = (units - dead - linear) / units;
    out[POINT_DEAD] = sums.points_dead / points;
    out[POINT_LINEAR] = sums.points_linear / points;
    out[POINT_NONLINEAR] = sums.points_nonlinear / points;
    out[DEADNESS] = sums.dead_pairs / pairs;
    out[LINEARITY] = sums.linear_pairs / pairs;
    out[NONLINEARITY] = (pairs - sums.dead_pairs - sums.linear_pairs) / pairs;
    out[EFFICIENCY] = sums.efficient_pairs / pairs;
    out[UNIT_LOSS] = (hinges[0] + hinges[1]) / units;
    out[POSITIVE_UNIT_LOSS] = hinges[0] / units;
    out[NEGATIVE_UNIT_LOSS] = hinges[1] / units;
    out[POINT_LOSS] = (sums.hinges[0] + sums.hinges[1]) / pairs;
    out[POSITIVE_POINT_LOSS] = sums.hinges[0] / pairs;
    out[NEGATIVE_POINT_LOSS] = sums.hinges[1] / pairs;
}

} // namespace
