"""What pyproject.toml can't say: the compiled kernel, left out where there is no compiler."""

from setuptools import Extension, setup

# Extrema are compared, never computed with: NaN is looked for by its bits, see jumpstart/extrema/kernel.inc.
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
