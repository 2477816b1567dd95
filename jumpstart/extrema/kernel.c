/* The extrema of units and points in one read of a preactivation, and the routing of their gradients.

   Replaces the PyTorch code of `reduction.py` in the usual case: dense float32 or float64 tensors on a CPU, a point
   is a sample, the first of several tied entries counts. Plain C without torch's headers, so that the install step
   builds it in a second and one build works with every release of torch; `kernel.py` decides when it is called.

   A tensor has N samples, C units and S places, laid out as [N][C][S] or, with `last`, as [N][S][C]. It is divided into
   blocks: one sample each, or BLOCK samples where S is 1. The extrema of each block by unit are stored, so that the
   entry that attains an extremum is searched for in one block only. */

#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 64
#define LANES 16
#define THIN 32 /* units up to which blocks are transposed */

/* One build for every processor: the widest vector instructions it has are chosen when the module is loaded. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST
#endif

#define INLINE static inline __attribute__((always_inline))

typedef struct {
    Py_ssize_t n, c, s;
    int last; /* always set where S is 1 */
} Shape;

#define T float
#define BITS int32_t
#define IS_NAN(bits) (((bits) & INT32_MAX) > 0x7f800000)
#define NAME(name) name##_float
#include "kernel.inc"
#undef T
#undef BITS
#undef IS_NAN
#undef NAME

#define T double
#define BITS int64_t
#define IS_NAN(bits) (((bits) & INT64_MAX) > 0x7ff0000000000000)
#define NAME(name) name##_double
#include "kernel.inc"

/* Arguments are addresses and sizes, checked by kernel.py; an address of 0 stands for a tensor that is not needed. */

static void *address(PyObject *number)
{
    return PyLong_AsVoidPtr(number);
}

static void **addresses(PyObject *list, Py_ssize_t *count)
{
    *count = PyList_Size(list);
    if (*count < 0)
        return NULL;
    void **found = malloc(sizeof(void *) * (size_t)(*count + 1));
    if (!found)
        return (void **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < *count; i++)
        found[i] = address(PyList_GetItem(list, i));
    if (PyErr_Occurred()) {
        free(found);
        return NULL;
    }
    return found;
}

#define RECORD(T, i)                                                                                                 \
    {                                                                                                                \
        {(T *)unit + (i)*shape.c, (T *)unit + (calls + (i)) * shape.c},                                              \
            {(T *)point + (i)*shape.n, (T *)point + (calls + (i)) * shape.n},                                        \
            {unit_at ? unit_at + (i)*shape.c : NULL, unit_at ? unit_at + (calls + (i)) * shape.c : NULL},            \
            {point_at ? point_at + (i)*shape.n : NULL, point_at ? point_at + (calls + (i)) * shape.n : NULL},        \
    }

/* reduce(tensors, n, c, s, last, double, margins, weights, unit, point, paid, unit_at, point_at): unit and point are
   (2, L, C) and (2, L, N), paid is the penalty, the weighted sum of all their hinges; margins are those of the positive
   and of the negative side; weights are those of units and points, positive and negative. */
static PyObject *reduce(PyObject *module, PyObject *args)
{
    PyObject *list, *numbers[5];
    Shape shape;
    int wide;
    double margins[2], weights[4], total = 0;
    if (!PyArg_ParseTuple(args, "O!nnnpp(dd)(dddd)OOOOO", &PyList_Type, &list, &shape.n, &shape.c, &shape.s,
                          &shape.last, &wide, &margins[0], &margins[1], &weights[0], &weights[1], &weights[2],
                          &weights[3], &numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4]))
        return NULL;
    void *unit = address(numbers[0]), *point = address(numbers[1]), *paid = address(numbers[2]);
    int32_t *unit_at = address(numbers[3]), *point_at = address(numbers[4]);
    Py_ssize_t calls, blocks = shape.s > 1 ? shape.n : (shape.n + BLOCK - 1) / BLOCK;
    void **tensors = addresses(list, &calls);
    if (!tensors)
        return NULL;
    void *scratch = malloc((size_t)(2 * blocks * shape.c) * (wide ? sizeof(double) : sizeof(float)));
    if (!scratch) {
        free(tensors);
        return PyErr_NoMemory();
    }
    float narrow[2] = {(float)margins[0], (float)margins[1]};
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < calls; i++) {
        if (wide) {
            Record_double out = RECORD(double, i);
            reduce_double(tensors[i], shape, margins, out, scratch);
        } else {
            Record_float out = RECORD(float, i);
            reduce_float(tensors[i], shape, narrow, out, scratch);
        }
    }
    for (int k = 0; k < 4; k++) {
        Py_ssize_t count = calls * (k < 2 ? shape.c : shape.n), from = (k & 1) * count;
        void *reach = k < 2 ? unit : point;
        if (weights[k] != 0)
            total += weights[k] * (wide ? hinges_double((double *)reach + from, count, margins[k & 1])
                                        : hinges_float((float *)reach + from, count, narrow[k & 1]));
    }
    if (wide)
        *(double *)paid = total;
    else
        *(float *)paid = (float)total;
    Py_END_ALLOW_THREADS
    free(scratch);
    free(tensors);
    Py_RETURN_NONE;
}

/* spread(tensors, n, c, s, last, double, unit_at, point_at, unit, point, paid, weights): add the gradients of the unit
   reach, the point reach and the penalty of their hinges to the entries that attain the reach. */
static PyObject *spread(PyObject *module, PyObject *args)
{
    PyObject *list, *numbers[5];
    Shape shape;
    int wide;
    double weights[4];
    Py_ssize_t calls;
    if (!PyArg_ParseTuple(args, "O!nnnppOOOOO(dddd)", &PyList_Type, &list, &shape.n, &shape.c, &shape.s, &shape.last,
                          &wide, &numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4], &weights[0],
                          &weights[1], &weights[2], &weights[3]))
        return NULL;
    const int32_t *places[2] = {address(numbers[0]), address(numbers[1])};
    void *grads[2] = {address(numbers[2]), address(numbers[3])}, *paid = address(numbers[4]);
    void **tensors = addresses(list, &calls);
    if (!tensors)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    double slope = paid ? (wide ? *(double *)paid : *(float *)paid) : 0;
    for (Py_ssize_t i = 0; i < calls; i++)
        for (int k = 0; k < 4; k++) {
            Py_ssize_t per_call = k < 2 ? shape.c : shape.n, from = ((k & 1) * calls + i) * per_call;
            void *grad = grads[k >> 1];
            const int32_t *at = places[k >> 1] + from;
            double same = -weights[k] * slope;
            if (wide)
                spread_double(tensors[i], shape, grad ? (double *)grad + from : NULL, same, at, per_call, k & 1);
            else
                spread_float(tensors[i], shape, grad ? (float *)grad + from : NULL, (float)same, at, per_call, k & 1);
        }
    Py_END_ALLOW_THREADS
    free(tensors);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"reduce", reduce, METH_VARARGS, "Extrema of every unit and point, and where they are."},
    {"spread", spread, METH_VARARGS, "Their gradients, added where they are."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "jumpstart.extrema._kernel",
    "The compiled kernel; see kernel.py.",
    -1,
    methods,
    NULL,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModule_Create(&definition);
}
