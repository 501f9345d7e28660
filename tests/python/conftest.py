"""What all the tests share: the environment that they run in, and the settings of Hypothesis."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings

from camnorm.sizes import divided
from image_sets import Divide

# What the user has set must not change what is tested.
for variable in [name for name in os.environ if name.startswith("CAMNORM_")]:
    del os.environ[variable]
os.environ["MPLBACKEND"] = "Agg"
# A script that starts the tests in the background makes them, and what they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Times vary too much on shared machines for a deadline; a run in CI must be repeatable.
settings.register_profile("camnorm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("camnorm")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--c-library", metavar="PATH", help="the shared library whose C API is to be tested")
    parser.addoption(
        "--update-docs",
        action="store_true",
        help="rewrite what the pages of the documentation say is printed",
    )


@pytest.fixture
def divide() -> Iterator[Divide]:
    """Divide the work otherwise until the test ends: fields of `camnorm.sizes.Sizes`."""
    with ExitStack() as stack:

        def change(**changes: float) -> None:
            stack.enter_context(divided(**changes))

        yield change
