// Which of several equal extrema has the gradient.
#pragma once
#include "vector.h"
#include <cstdint>

namespace {

// A number that looks random, for each number: the mixing function of SplitMix64 (Steele, Lea and Flood, 2014).
INLINE uint64_t mixed(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

// Choices in one step of training, each with a number. They depend on the seed, the epoch, the step and that number
// alone, so they are the same on every processor, and after a resume.
class Choices {
  public:
    Choices() = default;
    Choices(uint64_t seed, int epoch, int64_t step)
        : key(mixed(mixed(mixed(seed + GOLDEN) + (uint64_t)epoch + GOLDEN) + (uint64_t)step + GOLDEN))
    {
    }
    // A number from 0 to below `count`.
    INLINE int below(int count, uint64_t choice) const
    {
        return (int)(((mixed(key + (choice + 1) * GOLDEN) >> 32) * (uint64_t)count) >> 32);
    }
    // The same for the points of a vector: counts of 0 or 1 need no choice. Each point has two choices, one a side.
    INLINE Vector below(Vector counts, uint64_t first_point, int side) const
    {
        Vector found{};
        if (any(counts > 1.0f))
            for (int i = 0; i < LANES; i++)
                found[i] = counts[i] > 1 ? (float)below((int)counts[i], 2 * (first_point + i) + side) : 0;
        return found;
    }

  private:
    static constexpr uint64_t GOLDEN = 0x9e3779b97f4a7c15u;
    uint64_t key = 0;
};

} // namespace
