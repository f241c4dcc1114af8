"""What tests do where Prometheus is not installed."""

import pytest

from tests.monitoring.tools import need


def test_a_missing_tool_is_a_failure_in_ci(monkeypatch):
    """R183: nothing is proved by a proof that was not made."""
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is not installed: the Debian"):
        need("no-such-tool")


def test_a_missing_tool_is_a_loud_skip_elsewhere(monkeypatch):
    """It says so without being asked with `-rs`."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is not installed"):
        need("no-such-tool")


def test_a_tool_that_is_there():
    """Its path."""
    assert need("sh").endswith("/sh")
