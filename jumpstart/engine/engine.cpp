// The compiled engine: trains a whole rectangular network in one call, with the GIL released.
//
// Built once for each instruction set: ENGINE is the name of the module. `engine.py` chooses one and calls it.
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "training.h"

namespace {

// Subnormal numbers count as 0 while a member trains: they would take a hundred times as long.
class WithoutSubnormals {
  public:
#if defined(__x86_64__)
    WithoutSubnormals() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8040); }
    ~WithoutSubnormals() { _mm_setcsr(before); }

  private:
    unsigned before;
#endif
};

template <int Width> void run(Member &m, Workspace &space, int until, double seconds, double *measured)
{
    Training<Width> training(m, space);
    if (!measured)
        training.run(until, seconds);
    else if (!training.validate(measured))
        m.outcome = DIVERGED;
}

// Thin layers have loops of known length. Each width takes seconds to compile, so the plain build knows fewer.
void dispatch(Member &m, Workspace &space, int until, double seconds, double *measured)
{
    WithoutSubnormals scope;
    switch (m.width) {
#if LANES > 4
    case 2: return run<2>(m, space, until, seconds, measured);
    case 3: return run<3>(m, space, until, seconds, measured);
    case 5: return run<5>(m, space, until, seconds, measured);
    case 8: return run<8>(m, space, until, seconds, measured);
#endif
    case 4: return run<4>(m, space, until, seconds, measured);
    default: return run<0>(m, space, until, seconds, measured);
    }
}

// The member behind a Python object: the buffer of its ctypes structure.
class Borrowed {
  public:
    explicit Borrowed(PyObject *object)
    {
        if (PyObject_GetBuffer(object, &view, PyBUF_WRITABLE) < 0)
            return;
        held = true;
        if (view.len == (Py_ssize_t)sizeof(Member))
            member = static_cast<Member *>(view.buf);
        else
            PyErr_Format(PyExc_ValueError, "a member has %zd bytes, got %zd.", (Py_ssize_t)sizeof(Member), view.len);
    }
    ~Borrowed()
    {
        if (held)
            PyBuffer_Release(&view);
    }
    Member *member = nullptr;

  private:
    Py_buffer view;
    bool held = false;
};

PyObject *call(PyObject *object, int until, double seconds, double *measured)
{
    Borrowed borrowed(object);
    if (!borrowed.member)
        return nullptr;
    bool enough = false;
    Py_BEGIN_ALLOW_THREADS;
    {
        Workspace space(*borrowed.member);
        enough = space.memory != nullptr;
        if (enough)
            dispatch(*borrowed.member, space, until, seconds, measured);
    }
    Py_END_ALLOW_THREADS;
    if (!enough)
        return PyErr_NoMemory();
    return PyLong_FromLong(borrowed.member->outcome);
}

// train(member, until, seconds): from the member's epoch until an epoch, or until the time is up. Returns the outcome.
PyObject *train(PyObject *, PyObject *arguments)
{
    PyObject *object;
    int until;
    double seconds;
    if (!PyArg_ParseTuple(arguments, "Oid", &object, &until, &seconds))
        return nullptr;
    return call(object, until, seconds, nullptr);
}

// measure(member, address): the metrics of the member's validation part, METRICS doubles, at an address.
PyObject *measure(PyObject *, PyObject *arguments)
{
    PyObject *object, *address;
    if (!PyArg_ParseTuple(arguments, "OO", &object, &address))
        return nullptr;
    double *measured = static_cast<double *>(PyLong_AsVoidPtr(address));
    return PyErr_Occurred() ? nullptr : call(object, 0, 0, measured);
}

// order(seed, epoch, rows, address): the order of the rows in an epoch, int32, at an address.
PyObject *order(PyObject *, PyObject *arguments)
{
    unsigned long long seed;
    int epoch, rows;
    PyObject *address;
    if (!PyArg_ParseTuple(arguments, "KiiO", &seed, &epoch, &rows, &address))
        return nullptr;
    int32_t *rows_in_order = static_cast<int32_t *>(PyLong_AsVoidPtr(address));
    if (PyErr_Occurred())
        return nullptr;
    order_of_rows(seed, epoch, rows, rows_in_order);
    Py_RETURN_NONE;
}

// functions(kind, z, h, gradient, count): an activation, and a gradient of ones through it, at addresses; for tests.
PyObject *functions(PyObject *, PyObject *arguments)
{
    int kind, count;
    PyObject *addresses[3];
    if (!PyArg_ParseTuple(arguments, "iOOOi", &kind, &addresses[0], &addresses[1], &addresses[2], &count))
        return nullptr;
    float *at[3];
    for (int i = 0; i < 3; i++)
        at[i] = static_cast<float *>(PyLong_AsVoidPtr(addresses[i]));
    if (PyErr_Occurred())
        return nullptr;
    for_activation(kind, [&](auto f) {
        for (int i = 0; i + LANES <= count; i += LANES) {
            const Vector z = load_unaligned(at[0] + i), h = decltype(f)::value(z);
            store_unaligned(at[1] + i, h);
            store_unaligned(at[2] + i, decltype(f)::back(splat(1.0f), z, h));
        }
    });
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"train", train, METH_VARARGS, nullptr},
    {"measure", measure, METH_VARARGS, nullptr},
    {"order", order, METH_VARARGS, nullptr},
    {"functions", functions, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define JOINED_OF(one, other) one##other
#define JOINED(one, other) JOINED_OF(one, other)

PyModuleDef module = {PyModuleDef_HEAD_INIT, TEXT(ENGINE), nullptr, 0, methods, nullptr, nullptr, nullptr, nullptr};

} // namespace

PyMODINIT_FUNC JOINED(PyInit_, ENGINE)(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made)
        PyModule_AddIntConstant(made, "LANES", LANES);
    return made;
}
