// The activations and their derivatives. An activation is added here, in `layout.py`, and nowhere else.
#pragma once
#include "functions.h"
#include "member.h"

namespace {

// Whether a value is computed from its preactivation for less than it costs to store.
INLINE bool is_cheap(int activation) { return activation == RELU; }

// f(z), and a gradient times f'(z), where `h` is f(z) at the same place.
struct Identity {
    static INLINE Vector value(Vector z) { return z; }
    static INLINE Vector back(Vector gradient, Vector, Vector) { return gradient; }
};
struct Relu {
    // In this order of the arguments, what is not a number stays.
    static INLINE Vector value(Vector z) { return larger(Vector{}, z); }
    static INLINE Vector back(Vector gradient, Vector z, Vector) { return keep(gradient, z > 0.0f); }
};
struct LeakyRelu {
    static INLINE Vector value(Vector z) { return select(z > 0.0f, z, z * 0.01f); }
    static INLINE Vector back(Vector gradient, Vector z, Vector) { return select(z > 0.0f, gradient, gradient * 0.01f); }
};
struct Gelu {
    static INLINE Vector share(Vector z) { return 0.5f + 0.5f * error_function(z * 0.707106781f); }
    static INLINE Vector value(Vector z) { return z * share(z); }
    static INLINE Vector back(Vector gradient, Vector z, Vector)
    {
        return gradient * (share(z) + z * 0.398942280f * exponential(z * z * -0.5f));
    }
};
struct Silu {
    static INLINE Vector value(Vector z) { return z * logistic(z); }
    static INLINE Vector back(Vector gradient, Vector z, Vector)
    {
        Vector s = logistic(z);
        return gradient * (s * (1.0f + z * (1.0f - s)));
    }
};
struct Elu {
    static INLINE Vector value(Vector z) { return select(z > 0.0f, z, exponential_minus_one(z)); }
    static INLINE Vector back(Vector gradient, Vector z, Vector h) { return gradient * select(z > 0.0f, splat(1.0f), h + 1.0f); }
};
struct Tanh {
    static INLINE Vector value(Vector z) { return hyperbolic_tangent(z); }
    static INLINE Vector back(Vector gradient, Vector, Vector h) { return gradient * (1.0f - h * h); }
};
struct Sigmoid {
    static INLINE Vector value(Vector z) { return logistic(z); }
    static INLINE Vector back(Vector gradient, Vector, Vector h) { return gradient * (h * (1.0f - h)); }
};
struct Softplus {
    static INLINE Vector value(Vector z)
    {
        return larger(Vector{}, z) + log_one_plus(exponential(absolute(z) * -1.0f));
    }
    static INLINE Vector back(Vector gradient, Vector z, Vector) { return gradient * logistic(z); }
};

template <class Call> INLINE void for_activation(int activation, Call call)
{
    switch (activation) {
    case RELU: return call(Relu{});
    case LEAKY_RELU: return call(LeakyRelu{});
    case GELU: return call(Gelu{});
    case SILU: return call(Silu{});
    case ELU: return call(Elu{});
    case TANH: return call(Tanh{});
    case SIGMOID: return call(Sigmoid{});
    default: return call(Softplus{});
    }
}

} // namespace
