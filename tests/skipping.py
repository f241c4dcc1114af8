"""What becomes of a test that lacks something outside of Python."""

import os
from typing import NoReturn

import pytest


def skip_aloud(config: pytest.Config, why: str) -> NoReturn:
    """Skip the test with a line that nobody overlooks; in CI, fail it: there everything must run."""
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        config.get_terminal_writer().line(f"\nSKIPPED, {why}", yellow=True)
    pytest.skip(why)
