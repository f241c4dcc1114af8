"""What is said where the extra is not installed."""

import pickle
import subprocess
import sys

import pytest

from resilient_sse.testing.extra import SERVER_PACKAGES, MissingExtraError, require


def test_nothing_is_missing():
    """Where everything is installed, nothing is said."""
    require("the test", "pytest")


def test_what_is_missing_is_named(monkeypatch):
    """Every missing package is named as pip calls it, with the extra that brings it."""
    for name in (*SERVER_PACKAGES[1:], "rich"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as caught:
        require("the test", "rich", extra="demo")
    told = "the test needs sse-starlette, uvicorn, rich; install it with: pip install 'resilient-sse[demo]'"
    assert str(caught.value) == told
    assert (caught.value.names, caught.value.name) == (("sse_starlette", "uvicorn", "rich"), "sse_starlette")
    assert str(pickle.loads(pickle.dumps(caught.value))) == told  # noqa: S301 - our own


def test_asking_imports_nothing():
    """Whoever only asks does not pay for the server."""
    code = (
        "import sys\nfrom resilient_sse.testing.extra import require\nrequire('the test')\n"
        f"print([name for name in {SERVER_PACKAGES!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"[]"]
