"""Whole programs that end, or go on, in the middle of a stream: no hang, no noise, no socket kept."""

import signal
import subprocess
import sys
import time

import pytest

from tests.e2e.raw_server import hello

PROGRAM = """
import gc
import sys

import anyio

from resilient_sse import ResilientStream

url, backend = sys.argv[1:]


async def main():
{body}

anyio.run(main, backend=backend)
"""

LEFT_BY_BREAK = """
    async with ResilientStream(url) as stream:
        async for event in stream:
            break
"""

LEFT_BY_EXIT = """
    async with ResilientStream(url) as stream:
        async for event in stream:
            sys.exit(3)
"""

LEFT_BY_FAILURE = """
    async with ResilientStream(url) as stream:
        async for event in stream:
            raise KeyError("the program's own")
"""

LEFT_BY_CANCELLATION = """
    got = anyio.Event()

    async def consume():
        async with ResilientStream(url) as stream:
            async for event in stream:
                got.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        await got.wait()
        tasks.cancel_scope.cancel()
"""

NEVER_CLOSED = """
    stream = ResilientStream(url)
    async for event in stream:
        return
"""

INTERRUPTED = """
    async with ResilientStream(url) as stream:
        async for event in stream:
            print("ready", flush=True)
"""

NOISE = (
    "Task was destroyed",
    "nclosed transport",
    "nclosed <socket",
    "never awaited",
    "Event loop is closed",
)


def start(body, url, backend):
    """Start a program that treats every warning as an error."""
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM.format(body=body), url, backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Return what a program wrote to standard error, but for asyncio's remarks about a slow machine."""
    try:
        words = process.communicate(timeout=15)[1]
    finally:
        process.kill()
    return "".join(line for line in words.splitlines(keepends=True) if not line.startswith("Executing <"))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    "body,code,last_words",
    [
        pytest.param(LEFT_BY_BREAK, 0, "", id="break"),
        pytest.param(LEFT_BY_EXIT, 3, "", id="exit"),
        pytest.param(LEFT_BY_FAILURE, 1, 'KeyError: "the program\'s own"', id="failure"),
        pytest.param(LEFT_BY_CANCELLATION, 0, "", id="cancellation"),
    ],
)
@pytest.mark.slow
def test_program_ends_in_mid_stream(serve, backend, body, code, last_words):
    """P15, P16, F17: a program that ends in the middle of a stream exits at once and complains of nothing."""
    server = serve(hello)
    process = start(body, server.url, backend)
    words = finish(process)
    assert process.returncode == code, words
    assert words.strip().endswith(last_words)
    assert "Exception ignored" not in words
    assert not [noise for noise in NOISE if noise in words]
    if code != 1:
        assert words == ""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.slow
def test_program_that_never_closes(serve, backend):
    """P16, F17: a program that never closes its stream exits all the same, and one warning says what to mend."""
    process = start(NEVER_CLOSED, serve(hello).url, backend)
    words = finish(process)
    assert process.returncode == 0, words
    assert words.count("unclosed <ResilientStream") == 1
    assert not [noise for noise in NOISE if noise in words], words


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.slow
def test_interrupted_program(serve, backend):
    """P15, F33: Control-C in the middle of a stream ends the program at once, with its usual exception."""
    process = start(INTERRUPTED, serve(hello).url, backend)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # until it waits for the next event
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    words = finish(process)
    assert time.monotonic() - started < 5
    assert process.returncode in (1, -signal.SIGINT)
    assert words.strip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in words
    assert not [noise for noise in NOISE if noise in words]
