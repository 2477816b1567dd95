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

// What a slice adds to the sum of squares, from its two weighted hinges.
template <class T> INLINE T square_of_slice(const Member &m, T up, T down)
{
    return m.aggregate == SUM_OF_SQUARED_HINGES ? up * up + down * down : (up + down) * (up + down);
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

// Reads the extrema of a captured layer, of its units and of its points, as its values are computed.
class Reader {
  public:
    Reader(const Member &member, Workspace &workspace, int layer_units, int layer_number)
        : m(member), space(workspace), units(layer_units), layer(layer_number),
          linear(is_linear(m)), margin{splat((float)m.margin[0]), splat((float)m.margin[1])},
          weight{splat((float)m.point_weight[0]), splat((float)m.point_weight[1])}, extremes(space.extremes),
          valid(space.valid), is_short(space.is_short + (int64_t)layer * space.blocks * PARTS)
    {
        for (int i = 0; i < 2 * units; i++)
            store(extremes + i * LANES, splat(i % 2 ? INFINITY : -INFINITY));
    }

    INLINE void begin(int) {}
    INLINE void take(int unit, const Vector (&values)[PARTS])
    {
        Vector top = values[0], low = values[0];
        for (int k = 0; k < PARTS; k++) {
            most[k] = unit ? larger(most[k], values[k]) : values[k];
            least[k] = unit ? smaller(least[k], values[k]) : values[k];
            if (k) {
                top = larger(top, values[k]);
                low = smaller(low, values[k]);
            }
        }
        float *own = extremes + 2 * unit * LANES;
        store(own, larger(load(own), top));
        store(own + LANES, smaller(load(own + LANES), low));
    }
    // Which points are short is as good as random: hinges without a branch cost less than a wrong guess.
    INLINE void end(int block)
    {
        Mask crossed{};
        for (int k = 0; k < PARTS; k++) {
            const Vector counts = load(valid + block * BLOCK + k * LANES), up = larger(Vector{}, margin[0] - most[k]),
                         down = larger(Vector{}, margin[1] + least[k]);
            hinges[0] += counts * up;
            hinges[1] += counts * down;
            is_short[block * PARTS + k] = any((up > 0.0f) | (down > 0.0f));
            if (!linear)
                squares += counts * square_of_slice(m, up * weight[0], down * weight[1]);
            crossed |= (most[k] <= 0.0f) | (least[k] > 0.0f);
        }
        if (any(crossed))
            for (int k = 0; k < PARTS; k++)
                count_points(block * BLOCK + k * LANES, most[k], least[k]);
    }

    // Read values that are stored: (blocks, units, BLOCK).
    INLINE void read(const float *values, int blocks)
    {
        for (int b = 0; b < blocks; b++) {
            begin(b);
            for (int u = 0; u < units; u++, values += BLOCK) {
                Vector v[PARTS];
                for (int k = 0; k < PARTS; k++)
                    v[k] = load(values + k * LANES);
                take(u, v);
            }
            end(b);
        }
    }

    // What the layer adds to the pass, and the places where the hinges of its units have a gradient.
    void close(const float *values, int blocks, bool with_places, int first_unit, Pass &pass) const
    {
        for (int side = 0; side < 2; side++)
            pass.point_hinges[side] += sum(hinges[side]);
        pass.point_squares += sum(squares);
        for (int u = 0; u < units; u++) {
            const float *own = extremes + 2 * u * LANES;
            const float extreme[2] = {largest(load(own)), -largest(load(own + LANES) * -1.0f)};
            double weighted[2];
            for (int side = 0; side < 2; side++) {
                const float hinge = read_unit(first_unit + u, side, side ? -extreme[1] : extreme[0], pass);
                weighted[side] = m.unit_weight[side] * hinge;
                if (hinge > 0 && with_places && m.unit_weight[side] != 0)
                    space.place[2 * (first_unit + u) + side] = place_of(values + u * BLOCK, units * BLOCK, blocks, extreme[side]);
            }
            pass.unit_squares += square_of_slice(m, weighted[0], weighted[1]);
        }
    }

  private:
    const Member &m;
    Workspace &space;
    const int units, layer;
    const bool linear; // the aggregate
    const Vector margin[2], weight[2];
    float *const extremes;
    const float *const valid;
    bool *const is_short;
    Vector most[PARTS] = {}, least[PARTS] = {}; // of the points of a block
    Vector hinges[2] = {}, squares{};

    // Points that may be dead, or linear.
    INLINE void count_points(int at, Vector most, Vector least)
    {
        const Mask dead = most <= 0.0f, linear = least > 0.0f;
        Mask *last = (Mask *)(space.last_dead + at);
        *last = (*last & ~dead) | ((Mask{} + (layer + 1)) & dead);
        *(Mask *)(space.dead + at) -= dead;
        *(Mask *)(space.linear_layers + at) -= linear;
    }

    // The hinge of one side of a unit that reaches so far.
    INLINE float read_unit(int unit, int side, float reach, Pass &pass) const
    {
        const float missing = (float)m.margin[side] - reach, hinge = missing > 0 ? missing : 0;
        float *far = space.reach + side * space.units + unit;
        *far = reach > *far ? reach : *far;
        pass.finite += reach;
        pass.unit_hinges[side] += hinge;
        space.hinge[2 * unit + side] = hinge;
        space.place[2 * unit + side] = -1;
        return hinge;
    }
};

// Stores a layer, and reads its extrema.
class ReadingAndStoring {
  public:
    ReadingAndStoring(Reader &reading, float *values, int units) : reader(reading), storing(values, units) {}
    INLINE void begin(int block) { reader.begin(block); }
    INLINE void take(int unit, const Vector (&values)[PARTS])
    {
        storing.take(unit, values);
        reader.take(unit, values);
    }
    INLINE void end(int block)
    {
        reader.end(block);
        storing.end(block);
    }

  private:
    Reader &reader;
    Storing storing;
};

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

// The factors of a slice's two hinges in the gradient, where `hinges` are weighted.
template <class T> INLINE void slice_factors(const Member &m, const Pass &pass, const T (&hinges)[2], T (&factors)[2])
{
    const float scale = m.aggregate == NORM ? (pass.jumpstart > 0 ? (float)(1 / pass.jumpstart) : 0.0f) : 2.0f;
    for (int side = 0; side < 2; side++)
        factors[side] = (m.aggregate == SUM_OF_SQUARED_HINGES ? hinges[side] : hinges[0] + hinges[1]) * scale;
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
