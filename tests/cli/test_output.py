"""Escaping, and writing to a pipe without blocking."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
import pytest

from resilient_sse.cli.exits import Exit
from resilient_sse.cli.output import Output, escape, silence

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="needs pipes that can be waited for"),
]


def test_escape():
    """C0, DEL and C1 are written out; tabs, line feeds and everything else stay."""
    harmless = "\t\n" + "".join(map(chr, range(0x20, 0x7F))) + "\xa0ü😀\u2028"
    assert escape(harmless) == harmless
    assert escape("\x00\x07\x08\r\x1b]0;x\x7f\x80\x9b\x9f") == r"\x00\x07\x08\x0d\x1b]0;x\x7f\x80\x9b\x9f"


@contextmanager
def pipe_as_output(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Make standard output a pipe."""
    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        try:
            yield reader, writer
        finally:
            monkeypatch.undo()
            for descriptor in (reader, writer):
                with suppress(OSError):  # the test may have closed it
                    os.close(descriptor)


async def test_pipe_takes_more_than_it_holds(monkeypatch: pytest.MonkeyPatch):
    """A write that is larger than the pipe waits for its reader, and the event loop goes on."""
    text = "é" * 300_000
    received = bytearray()
    with pipe_as_output(monkeypatch) as (reader, _), anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Output().write, text)
            while len(received) < 600_000:
                await anyio.wait_readable(reader)
                received += os.read(reader, 65536)
    assert received.decode() == text


async def test_blocked_write_can_be_cancelled(monkeypatch: pytest.MonkeyPatch):
    """Nobody reads, and time still runs."""
    with pipe_as_output(monkeypatch):
        with anyio.move_on_after(0.1) as clock:
            await Output().write("x" * 1_000_000)
        assert clock.cancelled_caught


async def test_reader_gone(monkeypatch: pytest.MonkeyPatch):
    """The watch tells that the reader went away, and a write raises."""
    with pipe_as_output(monkeypatch) as (reader, _), anyio.fail_after(10):
        output = Output()
        gone = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(output.watch, gone.set)
            await anyio.sleep(0.05)
            assert not gone.is_set()
            os.close(reader)
            await gone.wait()
        with pytest.raises(BrokenPipeError):
            await output.write("x")


async def test_no_pipe(capsysbinary: pytest.CaptureFixture[bytes]):
    """Anything else is written and flushed, and never found gone."""
    output = Output()
    await output.watch(lambda: pytest.fail("it is not gone"))
    await output.write("é\n")
    assert capsysbinary.readouterr().out == "é\n".encode()
    silence(sys.stdout)  # it has no descriptor, which is no error


@pytest.mark.parametrize("arguments", [["rules", "prometheus"], ["tail", "--help"]])
def test_no_output_at_all(arguments: list[str]):
    """`>&-`: one line says why, and no traceback; with nothing to write it is no fault."""
    shell = ["sh", "-c", '"$@" >&-', "sh"]
    process = subprocess.run(
        [*shell, sys.executable, "-W", "error", "-m", "resilient_sse", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    wrong = "--help" not in arguments
    assert process.returncode == (Exit.OTHER if wrong else Exit.ENDED)
    said = "resilient-sse: error: the output cannot be written: not writable\n"
    assert process.stderr == (said if wrong else "")


def test_silence(monkeypatch: pytest.MonkeyPatch):
    """What is still buffered after the reader went away disappears."""
    with pipe_as_output(monkeypatch) as (reader, _):
        os.close(reader)
        sys.stdout.write("left over")
        silence(sys.stdout)
        sys.stdout.flush()


def test_no_errors_among_the_output(command: list[str]):
    """With standard error closed, progress and complaints do not turn up among the JSON."""
    arguments = ["report", "--form", "virtual", "--scenario", "handoff", "--json"]
    shell = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh"]
    done = subprocess.run(
        [*shell, *command, *arguments], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["production_readiness"] == "NO"
