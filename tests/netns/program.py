"""A Python program in a namespace: what it says, line by line, and its certain end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from threading import Condition, Thread
from typing import IO, TYPE_CHECKING, Any, Self, TypeAlias

from tests.netns.tools import NetnsProgramError, tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Program", "Record"]

Record: TypeAlias = dict[str, Any]
"""A line of JSON that a program has written."""

_KEPT_LINES = 40
_END_SECONDS = 3.0


class Program:
    """
    A program that talks in lines of JSON, and that ends when its standard input does.

    Nothing outside a namespace can be reached from inside, so that the environment's proxies are left out.

    Args:
        namespace: The name of the namespace.
        arguments: Those of Python.
        life: Seconds after which it is ended, even if this process has died by then.
    """

    def __init__(self, namespace: str, arguments: tuple[str, ...], *, life: float) -> None:
        self._arguments = arguments
        self._records: list[Record] = []
        self._words: deque[str] = deque(maxlen=_KEPT_LINES)
        self._said = Condition()  # its lock may be taken twice by one thread
        self._silent = False
        # `ip netns exec` and `timeout` put the next program in their place, or wait for it in this session.
        limit = [tool("timeout"), "--kill-after=1", f"{life:.1f}"]
        command = [tool("ip"), "netns", "exec", namespace, *limit, sys.executable, "-P", *arguments]
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**kept, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
        except OSError as error:
            raise NetnsProgramError(f"{self} did not start: {error}") from error
        out, err = self._process.stdout, self._process.stderr
        readers = ((self._read, out), (self._listen, err))
        self._threads = [Thread(target=work, args=(pipe,), daemon=True) for work, pipe in readers]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.end()

    def __str__(self) -> str:
        return f"`python {' '.join(self._arguments)}`"

    @property
    def records(self) -> list[Record]:
        """What it has written so far."""
        with self._said:
            return list(self._records)

    @property
    def words(self) -> str:
        """The last lines of its standard error, and of what was no JSON."""
        with self._said:
            return "\n".join(self._words)

    @property
    def returncode(self) -> int | None:
        """Its exit code, or `None` while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """The process id, of its `timeout` to be exact."""
        return self._process.pid

    def wait_for(self, wanted: Callable[[Record], bool], *, seconds: float, count: int = 1) -> Record:
        """
        Wait until it has written *count* records that are *wanted*, counted from its start, and return the last.

        Raises:
            NetnsProgramError: It ended before, or the time is over; the error quotes what it said.
        """
        until = time.monotonic() + seconds
        position = 0
        with self._said:
            while True:
                while position < len(self._records):
                    record = self._records[position]
                    position += 1
                    count -= bool(wanted(record))
                    if not count:
                        return record
                left = until - time.monotonic()
                if self._silent or left <= 0:
                    break
                self._said.wait(left)
        if self._silent:
            self._hear_out()
        why = "ended too early" if left > 0 else f"did not say in {seconds:g} s what was waited for"
        raise NetnsProgramError(f"{self} {why}; its last words:\n{self._last_words()}")

    def wait(self, *, seconds: float) -> int:
        """
        Wait for its end and return the exit code.

        Raises:
            NetnsProgramError: It goes on.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NetnsProgramError(f"{self} did not end in {seconds:g} s:\n{self._last_words()}") from None
        self._hear_out()
        return code

    def end(self) -> int:
        """Have it end, first by the end of its standard input, then by force, and return its exit code."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        return self.wait(seconds=_END_SECONDS)

    def _hear_out(self) -> None:
        """Wait for what it said last, which may still be on its way when it has ended."""
        for thread in self._threads:
            thread.join(_END_SECONDS)

    # The readers close the pipes: whoever else did would have to wait for them.

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                record = _record(line)
                with self._said:
                    if record is None:
                        self._words.append(line.decode(errors="replace").rstrip())
                    else:
                        self._records.append(record)
                    self._said.notify_all()
        with self._said:
            self._silent = True
            self._said.notify_all()

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                with self._said:
                    self._words.append(line.decode(errors="replace").rstrip())

    def _last_words(self) -> str:
        lines = [json.dumps(record) for record in self.records[-5:]]
        return "\n".join([*lines, self.words]).strip() or "(none)"


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None  # pyright: ignore[reportUnknownVariableType]
