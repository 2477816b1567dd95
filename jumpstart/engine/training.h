// Epochs: batches, optimizer, metrics, best weights, and the reasons to stop.
#pragma once
#include "network.h"
#include "order.h"
#include <chrono>

namespace {

INLINE void step_adam(const Member &m, const float *gradient, float scale, double lr)
{
    const double correction1 = 1 - std::pow(m.beta1, (double)m.step), correction2 = 1 - std::pow(m.beta2, (double)m.step);
    const float size = (float)(lr / correction1), root = (float)std::sqrt(correction2), rest1 = (float)(1 - m.beta1),
                beta2 = (float)m.beta2, rest2 = (float)(1 - m.beta2), epsilon = (float)m.epsilon;
    const float decay = (float)m.weight_decay, shrink = (float)(lr * m.weight_decay);
    for (int64_t i = 0; i < m.parameters; i += LANES) {
        Vector p = load_unaligned(m.weights + i), g = load(gradient + i) * scale, a = load_unaligned(m.moment1 + i),
               b = load_unaligned(m.moment2 + i);
        if (m.decays) {
            const Vector decays = load_unaligned(m.decays + i);
            if (m.optimizer == ADAMW)
                p -= p * decays * shrink;
            else
                g += p * decays * decay;
        }
        a += rest1 * (g - a);
        b = b * beta2 + rest2 * g * g;
        p -= size * a / (square_root(b) / root + epsilon);
        store_unaligned(m.moment1 + i, a);
        store_unaligned(m.moment2 + i, b);
        store_unaligned(m.weights + i, p);
    }
}

INLINE void step_sgd(const Member &m, const float *gradient, float scale, double lr)
{
    const float momentum = m.step > 1 ? (float)m.momentum : 0.0f, size = (float)lr, decay = (float)m.weight_decay;
    for (int64_t i = 0; i < m.parameters; i += LANES) {
        Vector p = load_unaligned(m.weights + i), g = load(gradient + i) * scale;
        if (m.decays)
            g += p * load_unaligned(m.decays + i) * decay;
        g += load_unaligned(m.moment1 + i) * momentum;
        store_unaligned(m.moment1 + i, g);
        store_unaligned(m.weights + i, p - size * g);
    }
}

// Clip the gradient, and take one step.
INLINE void step(Member &m, Workspace &space, double lr)
{
    float *gradient = space.parameter_gradient;
    if (m.clip_value > 0)
        for (int64_t i = 0; i < m.parameters; i += LANES)
            store(gradient + i, smaller(splat((float)m.clip_value), larger(splat(-(float)m.clip_value), load(gradient + i))));
    float scale = 1;
    if (m.clip_norm > 0) {
        double squares = 0;
        for (int64_t i = 0; i < m.parameters; i += 64 * LANES) {
            Vector total{};
            for (int64_t j = i; j < m.parameters && j < i + 64 * LANES; j += LANES)
                total += load(gradient + j) * load(gradient + j);
            squares += sum(total);
        }
        const float ratio = (float)m.clip_norm / ((float)std::sqrt(squares) + 1e-6f);
        scale = ratio < 1 ? ratio : 1;
    }
    m.step++;
    if (m.optimizer == SGD)
        step_sgd(m, gradient, scale, lr);
    else
        step_adam(m, gradient, scale, lr);
}

// Put the rows of a batch into blocks. Padding repeats the last row, so that it moves no extremum.
inline void gather(const float *x, const int64_t *y, const int32_t *order, int from, int points, int features, float *to_x,
                   int32_t *to_y)
{
    for (int q = 0; q < blocks_of(points) * BLOCK; q++) {
        const int place = from + (q < points ? q : points - 1);
        const int64_t row = order ? order[place] : place;
        float *to = to_x + (int64_t)(q / BLOCK) * features * BLOCK + q % BLOCK;
        for (int i = 0; i < features; i++)
            to[(int64_t)i * BLOCK] = x[row * features + i];
        to_y[q] = (int32_t)y[row];
    }
}

template <int Width> class Training {
  public:
    Training(Member &member, Workspace &workspace) : m(member), space(workspace), network(member, workspace)
    {
        int at = 0;
        for (int from = 0; from < m.val_rows; from += m.val_batch) {
            const int points = batch_size(from, m.val_rows, m.val_batch);
            gather(m.val_x, m.val_y, nullptr, from, points, m.features, space.val_x + (int64_t)at * m.features * BLOCK,
                   space.val_y + (int64_t)at * BLOCK);
            at += blocks_of(points);
        }
        if (m.batch == m.rows)
            gather(m.x, m.y, nullptr, 0, m.rows, m.features, space.train_x, space.train_y);
    }

    // Train until an epoch, or until the time is up.
    void run(int until, double seconds)
    {
        const auto start = std::chrono::steady_clock::now();
        m.outcome = FINISHED;
        while (m.epoch < until) {
            double *row = m.metrics + (int64_t)(m.epoch - m.first_epoch) * 2 * METRICS;
            if (!train_epoch(row) || !validate(row + METRICS)) {
                m.outcome = DIVERGED;
                return;
            }
            if (!keeps_before_the_step())
                keep_best(m.best_by_train ? row : row + METRICS);
            m.epoch++;
            if (stops(row, row + METRICS)) {
                m.outcome = STOPPED_EARLY;
                return;
            }
            const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
            if (m.epoch < until && passed.count() >= seconds) {
                m.outcome = TIME_IS_UP;
                return;
            }
        }
    }

    // The metrics of the validation part. False if a value is not finite.
    bool validate(double *row)
    {
        Sums sums;
        begin_epoch(space, sums);
        int at = 0;
        for (int from = 0; from < m.val_rows; from += m.val_batch) {
            const int points = batch_size(from, m.val_rows, m.val_batch);
            Pass pass;
            network.forward(space.val_x + (int64_t)at * m.features * BLOCK, space.val_y + (int64_t)at * BLOCK, points, false,
                            pass);
            if (!is_finite(pass))
                return false;
            add_to_epoch(space, sums, pass, points);
            at += blocks_of(points);
        }
        if (m.val_rows)
            write_metrics(m, space, sums, row);
        return true;
    }

  private:
    Member &m;
    Workspace &space;
    Network<Width> network;

    static int batch_size(int from, int rows, int batch) { return rows - from < batch ? rows - from : batch; }

    bool is_finite(const Pass &pass)
    {
        if (std::isfinite(pass.loss) && std::isfinite(pass.jumpstart) && std::isfinite(pass.finite))
            return true;
        m.diverged_layer = network.first_not_finite(pass);
        return false;
    }

    // With one batch an epoch, the metrics of the training part are those of the weights before the step.
    bool keeps_before_the_step() const { return m.best_by_train && m.batch == m.rows; }

    // False if a value is not finite; then the step is not taken.
    bool train_epoch(double *row)
    {
        const bool whole = m.batch == m.rows;
        if (!whole)
            order_of_rows(m.seed, m.epoch, m.rows, space.order);
        Sums sums;
        begin_epoch(space, sums);
        for (int from = 0; from < m.rows; from += m.batch) {
            const int points = batch_size(from, m.rows, m.batch);
            if (!whole)
                gather(m.x, m.y, space.order, from, points, m.features, space.x, space.y);
            Pass pass;
            network.forward(whole ? space.train_x : space.x, whole ? space.train_y : space.y, points, true, pass);
            if (!is_finite(pass))
                return false;
            add_to_epoch(space, sums, pass, points);
            if (keeps_before_the_step()) {
                write_metrics(m, space, sums, row);
                keep_best(row);
            }
            network.backward(pass, (float)m.lambda[m.epoch]);
            if (m.gradient)
                std::memcpy(m.gradient, space.parameter_gradient, sizeof(float) * m.parameters);
            step(m, space, m.lr[m.epoch]);
        }
        write_metrics(m, space, sums, row);
        return true;
    }

    // The higher accuracy, and of equal accuracies the lower loss, is better, as in `jumpstart/report/best_epoch.py`.
    void keep_best(const double *row)
    {
        const bool better = row[ACCURACY] > m.best_accuracy || (row[ACCURACY] == m.best_accuracy && row[LOSS] < m.best_loss);
        if (m.best_epoch >= 0 && !better)
            return;
        m.best_epoch = m.epoch;
        m.best_batch = m.step + (keeps_before_the_step() ? 1 : 0); // the batch of the pass is not a step yet
        m.best_accuracy = row[ACCURACY];
        m.best_loss = row[LOSS];
        std::memcpy(m.best_weights, m.weights, sizeof(float) * m.parameters);
        if (m.batchnorm)
            std::memcpy(m.best_running, m.running, sizeof(float) * 2 * m.depth * m.width);
    }

    bool has_reached_goal(const double *train) const
    {
        const bool wants_accuracy = std::isfinite(m.stop_train_accuracy), wants_loss = std::isfinite(m.stop_train_loss);
        if (!wants_accuracy && !wants_loss)
            return false;
        return (!wants_accuracy || train[ACCURACY] >= m.stop_train_accuracy) && (!wants_loss || train[LOSS] <= m.stop_train_loss);
    }

    // Whether training ends here. Patience compares in 32 bits, as Lightning's EarlyStopping does.
    bool stops(const double *train, const double *row)
    {
        if ((m.stop_at_perfect && row[ACCURACY] == 1) || has_reached_goal(train))
            return true;
        if (m.monitor == NO_MONITOR)
            return false;
        const float value = (float)row[m.monitor == MONITOR_LOSS ? LOSS : ACCURACY], change = (float)m.min_delta,
                    best = (float)m.monitored;
        if (m.monitor == MONITOR_LOSS ? value + change < best : value - change > best) {
            m.monitored = value;
            m.waited = 0;
        } else
            m.waited++;
        return m.waited >= m.patience;
    }
};

} // namespace
