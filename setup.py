"""The build of the compiled kernel, which pyproject.toml cannot describe. Without a C compiler, no kernel is built."""

from setuptools import Extension, setup

# The kernel compares values and computes none, and finds NaN by its bits: see jumpstart/extrema/kernel.inc.
FLAGS = ["-O3", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math", "-fno-strict-aliasing"]

setup(
    ext_modules=[
        Extension(
            "jumpstart.extrema._kernel",
            ["jumpstart/extrema/kernel.c"],
            depends=["jumpstart/extrema/kernel.inc"],
            extra_compile_args=FLAGS,
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
