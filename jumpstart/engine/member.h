// What one call trains: filled in by Python, where `layout.py` repeats it field by field.
//
// A network is `depth` hidden layers of `width` units and an output layer. Parameters lie in one vector in the order of
// PyTorch: of each hidden layer the weights (units, inputs), the bias, and with batch normalization its weight and its
// bias; then the weights and the bias of the output layer.
#pragma once
#include <cstdint>

enum Activation : int32_t { RELU, LEAKY_RELU, GELU, SILU, ELU, TANH, SIGMOID, SOFTPLUS };
enum Skip : int32_t { NO_SKIP, BEFORE_ACTIVATION, AFTER_ACTIVATION };
enum Aggregate : int32_t { BALANCED, MEAN, NORM, SUM_OF_SQUARES, SUM_OF_SQUARED_HINGES };
enum Ties : int32_t { SINGLE, AVERAGE, RANDOM };
enum Optimizer : int32_t { ADAM, ADAMW, SGD };
enum Monitor : int32_t { NO_MONITOR, MONITOR_LOSS, MONITOR_ACCURACY };

// The metrics of one part of the data in one epoch, in the order of METRICS in `layout.py`.
enum Metric {
    ACCURACY, LOSS, JUMPSTART_LOSS, JUMPSTART_UNIT_LOSS, JUMPSTART_POINT_LOSS,
    UNIT_DEAD, UNIT_LINEAR, UNIT_NONLINEAR, POINT_DEAD, POINT_LINEAR, POINT_NONLINEAR,
    DEADNESS, LINEARITY, NONLINEARITY, EFFICIENCY,
    UNIT_LOSS, POSITIVE_UNIT_LOSS, NEGATIVE_UNIT_LOSS, POINT_LOSS, POSITIVE_POINT_LOSS, NEGATIVE_POINT_LOSS,
    METRICS
};

// Why train() returned.
enum Outcome : int32_t { TIME_IS_UP, FINISHED, STOPPED_EARLY, DIVERGED };

// A side is 0 for the positive and 1 for the negative one.
struct Member {
    // The network.
    int32_t depth, width, features, classes, activation, batchnorm, skip, skip_span;
    // The Jumpstart loss: which tensors are read, and how their hinges become one number.
    int32_t capture_weights; // read the outputs of linear layers, not the inputs of activations
    int32_t capture_output;  // read the output layer too
    int32_t aggregate, unit_terms, point_terms; // whether any term of units, or of points, is part of the loss
    int32_t use_task_loss;
    double margin[2], unit_weight[2], point_weight[2];
    // The optimizer. A clip of 0 does nothing.
    int32_t optimizer, monitor;
    double beta1, beta2, epsilon, momentum, weight_decay, clip_norm, clip_value;
    // The data, row by row. A batch of all rows is not shuffled.
    int32_t rows, val_rows, batch, epochs;
    const float *x, *val_x;
    const int64_t *y, *val_y;
    uint64_t seed;
    // One number an epoch.
    const double *lr, *lambda;
    // When to stop before the last epoch. A training accuracy or loss that is not finite is no goal.
    int32_t stop_at_perfect, patience;
    double min_delta, stop_train_accuracy, stop_train_loss;
    // The state at the end of an epoch: with the weights, all that resuming needs.
    int64_t parameters, step, best_batch;
    float *weights, *moment1, *moment2; // (parameters,), each padded with zeros to a multiple of 16
    float *running;                     // (depth, 2, width) running mean and variance of batch normalization, or null
    float *best_weights, *best_running;
    const float *decays; // (parameters,) 1 where weight decay acts, or null for no decay
    int32_t epoch, best_epoch, waited, outcome;
    double best_accuracy, best_loss, monitored;
    // What is found.
    double *metrics;          // (epochs from first_epoch on, 2, METRICS), of the training and the validation part
    float *gradient;          // (parameters,) of the latest step, before it is clipped, or null
    int32_t diverged_layer;   // captured layer, then the output, then the Jumpstart loss; -1 for none
    int32_t first_epoch;
    int32_t val_batch;        // rows of a batch of the validation part
    int32_t best_by_train;    // the training part decides which epoch is the best
    int32_t ties;             // which of several equal extrema has the gradient: the first, all, or a random one
};
