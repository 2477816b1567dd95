"""The compiled parts, which pyproject.toml cannot describe. Without a compiler, the package works without them."""

import os
import platform
from pathlib import Path

from setuptools import Extension, setup

# The bits of a wheel depend on the sources and the compiler alone: not on the time, the folder, or the user's umask.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1577836800")
os.umask(0o022)

# The kernel compares values and computes none, and finds NaN by its bits: see jumpstart/extrema/kernel.inc.
KERNEL = ["-O3", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math", "-fno-strict-aliasing", "-g0"]
# The engine computes in the order that its code says, but for products that are fused with sums.
ENGINE = ["-O3", "-std=c++17", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-exceptions",
          "-fno-rtti", "-g0", "-Wno-psabi", "-Wno-uninitialized", "-Wno-maybe-uninitialized"]  # fmt: skip
# One build for each instruction set; jumpstart/engine/build.py chooses one when the engine is first used.
INSTRUCTION_SETS = {"plain": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    INSTRUCTION_SETS |= {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx512dq", "-mavx2", "-mfma"]}
HEADERS = sorted(map(str, Path("jumpstart/engine").glob("*.h")))

setup(
    ext_modules=[
        Extension(
            "jumpstart.extrema._kernel",
            ["jumpstart/extrema/kernel.c"],
            depends=["jumpstart/extrema/kernel.inc"],
            extra_compile_args=KERNEL,
            py_limited_api=True,
            optional=True,
        ),
        *[
            Extension(
                f"jumpstart.engine._{name}",
                ["jumpstart/engine/engine.cpp"],
                depends=HEADERS,
                extra_compile_args=[*ENGINE, *flags, f"-DENGINE=_{name}"],
                py_limited_api=True,
                optional=True,
            )
            for name, flags in INSTRUCTION_SETS.items()
        ],
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}, "build_ext": {"parallel": 4}},
)
