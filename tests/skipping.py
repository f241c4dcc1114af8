"""What becomes of a test that lacks something outside of Python."""

import os
from typing import NoReturn

import pytest

MISSING = "missing: "


def skip_aloud(why: str) -> NoReturn:
    """Skip the test, and have a line at the end say why; in CI, fail it: there everything must run."""
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(MISSING + why)
