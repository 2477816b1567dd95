"""Settings of property tests by Hypothesis.

The suite tries a few examples, the same ones in each run. ``JUMPSTART_EXAMPLES=2000 pytest test/faults -k property``
tries as many for each property, new ones in each run.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

MANY = int(os.environ.get("JUMPSTART_EXAMPLES", "0"))

# Hypothesis writes files of its own, which do not belong into the project.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis-of-jumpstart")


def tried(few: int) -> settings:
    """Settings of a property that the suite tries with so many examples."""
    return settings(
        max_examples=MANY or few,
        derandomize=not MANY,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
