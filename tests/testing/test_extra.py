"""What the kit says when what an extra brings is missing."""

import pickle
import subprocess
import sys

import pytest

from resilient_sse.testing.extra import MissingExtraError, require


def test_what_is_missing_is_named(monkeypatch):
    """Every missing package is named as pip calls it, with the extra that brings it; else nothing is said."""
    require("the test", "pytest")
    for name in ("sse_starlette", "uvicorn", "rich"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as caught:
        require("the test", "rich", extra="demo")
    told = "the test needs sse-starlette, uvicorn, rich; install it with: pip install 'resilient-sse[demo]'"
    assert str(caught.value) == told
    assert caught.value.name == "sse_starlette"
    assert str(pickle.loads(pickle.dumps(caught.value))) == told  # noqa: S301 - our own
    with pytest.raises(MissingExtraError, match="the test needs rich;"):
        require("the test", "rich", server=False)


@pytest.mark.slow
def test_asking_imports_nothing():
    """Whoever only asks does not pay for the server; only virtual time on trio needs trio."""
    code = (
        "import sys\nsys.modules['trio'] = None\nimport resilient_sse.testing\n"
        "from resilient_sse.testing.extra import require\nrequire('the test')\n"
        "print([name for name in ('starlette', 'sse_starlette', 'uvicorn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"[]"]
