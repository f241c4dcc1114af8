"""What the kit needs of others: processes of its own, extras, and a script that fails as a server does."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress

import anyio
import pytest

from resilient_sse.testing.children import ChildError, child
from resilient_sse.testing.extra import MissingExtraError, require
from tests.e2e.watching import eventually

pytestmark = pytest.mark.e2e

ECHO = """
    import json, os, sys
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        print(line, end="", flush=True)
"""


def program(text):
    """Give the arguments that run a program."""
    return ["-c", textwrap.dedent(text)]


def alive(pid):
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_conversation():
    """It says hello, obeys, and is gone after the block."""
    async with child("echo", program(ECHO)) as echo:
        pid = echo.hello["pid"]
        assert alive(pid)
        await echo.send('{"n": 1}')
        assert await eventually(lambda: echo.last == {"n": 1}, within=10)
    assert not alive(pid)


@pytest.mark.parametrize("how", ["an error", "cancellation"])
async def test_block_that_is_left(how):
    """An error inside the block ends the process, too, and so does cancelling it."""
    pid = None
    with suppress(RuntimeError), anyio.CancelScope() as scope:
        async with child("echo", program(ECHO)) as echo:
            pid = echo.hello["pid"]
            if how == "an error":
                raise RuntimeError("inside")
            scope.cancel()
            await anyio.sleep_forever()
    assert pid is not None
    assert not alive(pid)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("raise SystemExit('port 80 is taken')", "the server did not start: port 80 is taken"),
        ("print('ready', flush=True)", "the server did not start"),
        ("", "the server did not start"),
    ],
)
async def test_failed_start(text, expected):
    """One that does not start says why, in its own last words."""
    with pytest.raises(ChildError) as caught:
        async with child("server", program(text)):
            raise AssertionError
    assert str(caught.value) == expected


async def test_death():
    """One that dies ends the block at once, with its name, its code and its last words."""
    began = time.monotonic()
    with pytest.raises(ChildError, match="the server ended too soon, with code 7: no more memory"):
        async with child(
            "server",
            program("""
                import sys, time
                print("{}", flush=True)
                time.sleep(0.3)
                print("no more memory", file=sys.stderr)
                raise SystemExit(7)
            """),
        ):
            await anyio.sleep(60)
    assert time.monotonic() - began < 30


async def test_death_of_an_inner_process():
    """With one around the other, the error of the one that died comes out as it is, and both are gone."""
    with pytest.raises(ChildError, match="the network ended too soon"):  # noqa: PT012 - see above
        async with child("server", program(ECHO)) as server, child("network", program(ECHO)) as network:
            pids = server.hello["pid"], network.hello["pid"]
            os.kill(pids[1], signal.SIGKILL)
            await anyio.sleep(60)
    assert not any(alive(pid) for pid in pids)


async def test_talker():
    """One that writes more than a pipe holds, to both of its outputs, is never held up."""
    async with child(
        "talker",
        program("""
            import json, sys
            print("{}", flush=True)
            for number in range(3000):
                print(json.dumps({"n": number, "text": "x" * 100}), flush=True)
                print("noise " * 20, file=sys.stderr)
            print('{"n": "all"}', flush=True)
            sys.stdin.read()
        """),
    ) as talker:
        assert await eventually(lambda: talker.last.get("n") == "all", within=30)


async def test_stubborn_process(monkeypatch):
    """One that does not stop when asked to is killed."""
    monkeypatch.setattr("resilient_sse.testing.children._STOP_SECONDS", 0.3)
    async with child(
        "mule",
        program("""
            import json, os, time
            print(json.dumps({"pid": os.getpid()}), flush=True)
            time.sleep(600)
        """),
    ) as mule:
        pid = mule.hello["pid"]
    assert not alive(pid)


def test_what_is_missing_is_named(monkeypatch):
    """Every missing package is named as pip calls it, with the extra that brings it; else nothing is said."""
    require("the test", "pytest")
    for name in ("sse_starlette", "uvicorn", "rich"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as caught:
        require("the test", "rich", extra="demo")
    told = "the test needs sse-starlette, uvicorn, rich; install it with: pip install 'resilient-sse[demo]'"
    assert str(caught.value) == told
    assert (caught.value.names, caught.value.name) == (("sse_starlette", "uvicorn", "rich"), "sse_starlette")
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
