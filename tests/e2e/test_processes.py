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

LOOP = """
    async with ResilientStream(url) as stream:
        async for event in stream:
            {}
"""

CANCELLED = """
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

ENDS = {
    "break": (LOOP.format("break"), 0, ""),
    "exit": (LOOP.format("sys.exit(3)"), 3, ""),
    "failure": (LOOP.format("raise KeyError('its own')"), 1, "KeyError: 'its own'"),
    "cancellation": (CANCELLED, 0, ""),
    "never closed": (NEVER_CLOSED, 0, "unclosed <ResilientStream"),
    "interrupted": (LOOP.format("print('ready', flush=True)"), -signal.SIGINT, "KeyboardInterrupt"),
}
"""How a program ends, its exit status, and what it says last."""

NOISE = (
    "Task was destroyed",
    "nclosed transport",
    "nclosed <socket",
    "never awaited",
    "Event loop is closed",
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("body, code, last_words", ENDS.values(), ids=ENDS)
@pytest.mark.slow
def test_program_ends_in_mid_stream(serve, backend, body, code, last_words):
    """P15, P16, F17, F33: it exits at once, after Control-C too, and complains of an unclosed stream only."""
    if code < 0 and sys.platform == "win32":
        pytest.skip("no SIGINT for another process")
    # Every warning is an error.
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM.format(body=body)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, serve(hello).url, backend], **pipes) as process:
        try:
            started = time.monotonic()
            if code < 0:
                assert process.stdout.readline() == "ready\n"
                time.sleep(0.3)  # until it waits for the next event
                process.send_signal(signal.SIGINT)
                started = time.monotonic()
            said = process.communicate(timeout=15)[1]
            took = time.monotonic() - started
        finally:
            process.kill()
    # asyncio remarks upon a slow machine
    words = "".join(line for line in said.splitlines(True) if not line.startswith("Executing <"))
    assert process.returncode in ((1, code) if code < 0 else (code,)), words
    assert code >= 0 or took < 5
    assert not [noise for noise in NOISE if noise in words], words
    if body is NEVER_CLOSED:
        assert words.count(last_words) == 1
        return
    assert words.strip().endswith(last_words)
    assert "Exception ignored" not in words
    assert bool(words) == bool(last_words)
