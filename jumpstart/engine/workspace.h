// The memory of one call, allocated once: values of one batch, and sums of one epoch.
#pragma once
#include "linear.h"
#include <cstdlib>
#include <cstring>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace {

INLINE int blocks_of(int points) { return (points + BLOCK - 1) / BLOCK; }

struct Workspace {
    // Which of the arrays are needed.
    const bool keeps_linear;  // the outputs of linear layers differ from the preactivations, and both are read
    const bool keeps_outputs; // the outputs of activations are stored, not recomputed
    const int captured;       // layers that Jumpstart reads
    const int units;          // units of all these layers
    const int blocks;         // of the largest batch

    // (depth, blocks, width, BLOCK) but where another shape is given.
    float *x;                      // (blocks, features, BLOCK)
    float *linear, *z, *h;         // outputs of the linear layers, preactivations, outputs of the activations
    float *logits;                 // (blocks, classes, BLOCK)
    float *gradient, *below, *carried; // (blocks, the larger of width and classes, BLOCK)
    float *valid;                  // (blocks, BLOCK) 1 for a point, 0 for padding
    int32_t *y;                    // (blocks, BLOCK)
    float *mean, *scale;           // (depth, width) of batch normalization
    float *extremes;               // (units of a layer, 2, LANES) the largest and the smallest values so far
    int32_t *place;                // (units, 2) where a unit has its extrema; -1 where its hinge is 0
    float *hinge;                  // (units, 2)
    bool *is_short;                // (captured, blocks, PARTS) whether a point is short of its margin
    float *parameter_gradient;     // (parameters,)
    int32_t *order;                // (rows,)
    float *val_x, *train_x;        // the parts in blocks; the training part if a batch has all its rows
    int32_t *val_y, *train_y;
    // Sums over an epoch.
    float *reach;                               // (2, units) the largest max, and the largest -min, of every unit
    int32_t *last_dead, *dead, *linear_layers;  // (blocks, BLOCK), of the points of one batch
    char *memory = nullptr;

    explicit Workspace(const Member &m)
        : keeps_linear(m.batchnorm || (m.capture_weights && m.skip == BEFORE_ACTIVATION)),
          keeps_outputs(!is_cheap(m.activation) || m.skip == AFTER_ACTIVATION),
          captured(m.depth + (m.capture_output ? 1 : 0)),
          units(m.depth * m.width + (m.capture_output ? m.classes : 0)), blocks(blocks_of(m.batch > m.val_batch ? m.batch : m.val_batch))
    {
        carve(m);
        size_t bytes = used;
        memory = static_cast<char *>(std::malloc(bytes + ALIGNMENT));
        if (memory) {
            base = memory + (ALIGNMENT - reinterpret_cast<uintptr_t>(memory) % ALIGNMENT);
            std::memset(base, 0, bytes);
            carve(m);
        }
    }
    ~Workspace() { std::free(memory); }
    Workspace(const Workspace &) = delete;
    Workspace &operator=(const Workspace &) = delete;

  private:
    enum { ALIGNMENT = 64, GUARD = 4096 };
    char *base = nullptr;
    size_t used = 0;

    template <class T> void take(T *&pointer, size_t count)
    {
        pointer = base ? reinterpret_cast<T *>(base + used) : nullptr;
        used += (count * sizeof(T) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
#if defined(__SANITIZE_ADDRESS__) // the sanitizer finds what is read or written between two arrays
        used += GUARD;
        if (base)
            ASAN_POISON_MEMORY_REGION(pointer + count, base + used - reinterpret_cast<char *>(pointer + count));
#endif
    }

    void carve(const Member &m)
    {
        used = 0;
        const size_t points = (size_t)blocks * BLOCK, widest = m.width > m.classes ? m.width : m.classes;
        const size_t layers = points * m.depth * m.width, val_points = (size_t)blocks_of_parts(m.val_rows, m.val_batch) * BLOCK;
        take(x, points * m.features);
        take(z, layers);
        take(linear, keeps_linear ? layers : 0);
        take(h, keeps_outputs ? layers : 0);
        take(logits, points * m.classes);
        take(gradient, points * widest);
        take(below, points * widest);
        take(carried, m.skip ? points * m.width : 0);
        take(valid, points);
        take(y, points);
        take(mean, m.batchnorm ? (size_t)m.depth * m.width : 0);
        take(scale, m.batchnorm ? (size_t)m.depth * m.width : 0);
        take(extremes, 2 * LANES * widest);
        take(place, 2 * (size_t)units);
        take(hinge, 2 * (size_t)units);
        take(is_short, (size_t)captured * blocks * PARTS);
        take(parameter_gradient, m.parameters + BLOCK);
        take(order, m.rows);
        take(val_x, val_points * m.features);
        take(val_y, val_points);
        take(train_x, m.batch == m.rows ? points * m.features : 0);
        take(train_y, m.batch == m.rows ? points : 0);
        take(reach, 2 * (size_t)units);
        take(last_dead, points);
        take(dead, points);
        take(linear_layers, points);
    }

  public:
    // Blocks of a part that is served in batches, each of which begins a block.
    static int blocks_of_parts(int rows, int batch)
    {
        return rows / batch * blocks_of(batch) + blocks_of(rows % batch);
    }
};

} // namespace
