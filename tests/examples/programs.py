"""The examples as programs, each in a process of its own that a test hears, signals and kills."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import resilient_sse.checkpoints  # noqa: F401 - imported once, in the process that the programs are forked from
import resilient_sse.sync  # noqa: F401
from tests.e2e.watching import soon

EXAMPLES = Path(__file__).parents[2] / "examples"
PROCESSES = multiprocessing.get_context("forkserver")
PATIENCE = 60.0


def until(holds: Callable[[], Any], what: Callable[[], str]) -> None:
    """Wait until something holds."""
    assert soon(holds, within=PATIENCE), f"it does not come to it that {what()}"


class Program:
    """
    A running example.

    Args:
        directory: Where it runs, and where its output is kept.
        name: The file below `examples/`, or a module.
        arguments: Its arguments.
        environment: What it finds in its environment beside the usual.
    """

    def __init__(self, directory: Path, name: str, *arguments: str, **environment: str) -> None:
        run = len(list(directory.glob("*.out")))
        self._out, self._err = directory / f"{run}.out", directory / f"{run}.err"
        self._out.touch()
        self._process = PROCESSES.Process(
            target=_run, args=((self._out, self._err), [name, *arguments], environment), daemon=True
        )
        self._process.start()

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._out.read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        """What it has printed to standard error."""
        return self._err.read_text(encoding="utf-8") if self._err.exists() else ""

    def said(self, text: str, times: int = 1) -> None:
        """Wait until it has printed a text."""
        until(
            lambda: (self.output + self.errors).count(text) >= times or self._process.exitcode is not None,
            lambda: f"{text!r} is printed: {self.output}{self.errors}",
        )
        assert (self.output + self.errors).count(text) >= times, self.output + self.errors

    def send(self, number: int) -> int:
        """Send it a signal, and return its exit code."""
        os.kill(self._process.pid or 0, number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, f"it does not end: {self.output}{self.errors}"
        return self._process.exitcode

    def kill(self) -> None:
        """Kill it; harmless when it has ended."""
        self._process.kill()
        self._process.join()


def _run(outputs: tuple[Path, Path], command: list[str], environment: dict[str, str]) -> None:
    os.chdir(outputs[0].parent)
    for number, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    for proxy in [key for key in os.environ if key.lower().endswith("_proxy")]:
        del os.environ[proxy]
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have background jobs ignore it
    warnings.simplefilter("always", ResourceWarning)
    sys.argv = command
    if command[0].endswith(".py"):
        runpy.run_path(str(EXAMPLES / command[0]), run_name="__main__")
    else:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
