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

INLINE bool is_linear(const Member &m) { return m.aggregate == BALANCED || m.aggregate == MEAN; }

// Read the extrema of the points of a layer: (blocks, units, BLOCK) values.
INLINE void read_points(const Member &m, Workspace &space, Pass &pass, int units, const float *values, int blocks, int layer)
{
    const Vector margin[2] = {splat((float)m.margin[0]), splat((float)m.margin[1])},
                 weight[2] = {splat((float)m.point_weight[0]), splat((float)m.point_weight[1])};
    const bool linear_aggregate = is_linear(m);
    Vector hinges[2] = {}, squares{};
    for (int b = 0; b < blocks; b++, values += units * BLOCK)
        for (int k = 0; k < PARTS; k++) {
            Vector most = load(values + k * LANES), least = most;
            for (int u = 1; u < units; u++) {
                const Vector v = load(values + u * BLOCK + k * LANES);
                most = larger(most, v);
                least = smaller(least, v);
            }
            const Vector hinge[2] = {larger(Vector{}, margin[0] - most), larger(Vector{}, margin[1] + least)};
            const Mask is_short = (hinge[0] > 0.0f) | (hinge[1] > 0.0f);
            const bool any_short = any(is_short);
            space.is_short[((int64_t)layer * space.blocks + b) * PARTS + k] = any_short;
            if (!any_short)
                continue; // nor is any point dead or linear
            const int at = b * BLOCK + k * LANES;
            const Vector counts = load(space.valid + at);
            hinges[0] += counts * hinge[0];
            hinges[1] += counts * hinge[1];
            if (!linear_aggregate) {
                const Vector slice = weight[0] * hinge[0] + weight[1] * hinge[1];
                squares += counts * slice * slice;
            }
            const Mask dead = most <= 0.0f, linear = least > 0.0f;
            Mask *last = (Mask *)(space.last_dead + at);
            *last = (*last & ~dead) | ((Mask{} + (layer + 1)) & dead);
            *(Mask *)(space.dead + at) -= dead;
            *(Mask *)(space.linear_layers + at) -= linear;
        }
    for (int side = 0; side < 2; side++)
        pass.point_hinges[side] += sum(hinges[side]);
    pass.point_squares += sum(squares);
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

// Read the extrema of the units of a layer, and find the places where their hinges have a gradient.
INLINE void read_units(const Member &m, Workspace &space, Pass &pass, int units, const float *values, int blocks,
                       int first_unit, bool with_places)
{
    for (int u = 0; u < units; u++) {
        const int unit = first_unit + u;
        const float *own = values + u * BLOCK;
        Vector most[PARTS], least[PARTS];
        for (int k = 0; k < PARTS; k++)
            most[k] = least[k] = load(own + k * LANES);
        for (int b = 1; b < blocks; b++)
            for (int k = 0; k < PARTS; k++) {
                const Vector v = load(own + (int64_t)b * units * BLOCK + k * LANES);
                most[k] = larger(most[k], v);
                least[k] = smaller(least[k], v);
            }
        for (int k = 1; k < PARTS; k++) {
            most[0] = larger(most[0], most[k]);
            least[0] = smaller(least[0], least[k]);
        }
        const float extreme[2] = {largest(most[0]), -largest(least[0] * -1.0f)};
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
                space.place[2 * unit + side] = place_of(own, units * BLOCK, blocks, extreme[side]);
        }
        pass.unit_squares += slice * slice;
    }
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
