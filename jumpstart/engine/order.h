// The order of the rows in an epoch: that of `TensorBatches` in `data/batches.py`, bit for bit.
//
// There, it is torch.randperm of a generator that is seeded by numpy.random.SeedSequence((seed, epoch)).
#pragma once
#include <cstdint>

namespace {

// The low word of SeedSequence(entropy).generate_state(1, uint64), as documented for NumPy. Torch's Mersenne
// Twister reads no more of its seed. `entropy` are words of 32 bits, at most four.
inline uint32_t mixed_seed(const uint32_t *entropy, int words)
{
    uint32_t pool[4], factor = 0x43b0d7e5u;
    auto hash = [&factor](uint32_t value) {
        value ^= factor;
        factor *= 0x931e8875u;
        value *= factor;
        return value ^ (value >> 16);
    };
    for (int i = 0; i < 4; i++)
        pool[i] = hash(i < words ? entropy[i] : 0);
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++)
            if (from != to) {
                uint32_t mixed = 0xca01f9ddu * pool[to] - 0x4973f715u * hash(pool[from]);
                pool[to] = mixed ^ (mixed >> 16);
            }
    uint32_t value = pool[0] ^ 0x8b51f9ddu;
    value *= 0x8b51f9ddu * 0x58f38dedu;
    return value ^ (value >> 16);
}

class MersenneTwister {
  public:
    explicit MersenneTwister(uint32_t seed)
    {
        state[0] = seed;
        for (uint32_t i = 1; i < SIZE; i++)
            state[i] = 1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
    }
    uint32_t next()
    {
        if (at == SIZE)
            refill();
        uint32_t y = state[at++];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680u;
        y ^= (y << 15) & 0xefc60000u;
        return y ^ (y >> 18);
    }

  private:
    enum : uint32_t { SIZE = 624, OFFSET = 397 };
    uint32_t state[SIZE], at = SIZE;
    void refill()
    {
        for (uint32_t i = 0; i < SIZE; i++) {
            uint32_t low = state[i + 1 < SIZE ? i + 1 : 0], mixed = (state[i] & 0x80000000u) | (low & 0x7fffffffu);
            state[i] = state[i + OFFSET < SIZE ? i + OFFSET : i + OFFSET - SIZE] ^ (mixed >> 1) ^ (0x9908b0dfu & -(low & 1));
        }
        at = 0;
    }
};

inline void order_of_rows(uint64_t seed, int epoch, int rows, int32_t *order)
{
    uint32_t entropy[3] = {(uint32_t)seed, (uint32_t)epoch, 0};
    int words = 2;
    if (seed >> 32) { // NumPy reads a large number as two words
        entropy[1] = (uint32_t)(seed >> 32);
        entropy[2] = (uint32_t)epoch;
        words = 3;
    }
    MersenneTwister random(mixed_seed(entropy, words));
    for (int i = 0; i < rows; i++)
        order[i] = i;
    for (int i = 0; i < rows - 1; i++) {
        int other = i + (int)(random.next() % (uint32_t)(rows - i)), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

} // namespace
