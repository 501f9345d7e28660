"""What all the tests share: the environment that they run in, and the settings of Hypothesis."""

from __future__ import annotations

import os

from hypothesis import settings

# What the user has set must not change what is tested.
for variable in [name for name in os.environ if name.startswith("CAMNORM_")]:
    del os.environ[variable]
os.environ["MPLBACKEND"] = "Agg"

# Times vary too much on shared machines for a deadline; a run in CI must be repeatable.
settings.register_profile("camnorm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("camnorm")
