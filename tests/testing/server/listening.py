"""A reader that is not our client: the standard library's, which shows headers and bytes as they are."""

from __future__ import annotations

import http.client
import json
import socket
import zlib
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import anyio

from resilient_sse.testing.server import ReferenceServer

PATIENCE = 20.0
_ESTABLISHED = "01"


class Listener:
    """
    One open stream.

    Args:
        url: Where; `params` are appended.
        header: The Last-Event-ID header.
        gzip: Ask for gzip, and decode it.
        params: The query.
    """

    def __init__(self, url: str, *, header: object = None, gzip: bool = False, **params: object) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        query = "&".join(f"{name}={value}" for name, value in params.items())
        headers = {} if header is None else {"Last-Event-ID": str(header)}
        if gzip:
            headers["Accept-Encoding"] = "gzip"
        self.connection.request("GET", f"{parts.path}?{query}" if query else parts.path, headers=headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.headers = self.response.headers
        self.size = 0
        """How many bytes of the body have come."""
        self._inflate = zlib.decompressobj(31) if self.headers.get("Content-Encoding") == "gzip" else None
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.response.close()
        self.connection.close()

    def blocks(self, count: int) -> list[bytes]:
        """Read so many blocks."""
        taken: list[bytes] = []
        while len(taken) < count:
            block, blank, rest = self._rest.partition(b"\n\n")
            if blank:
                taken.append(block + blank)
                self._rest = rest
                continue
            data = self.response.read1(65536)
            if not data:
                raise EOFError(f"the response ended after {taken} and {self._rest!r}")
            self.size += len(data)
            self._rest += self._inflate.decompress(data) if self._inflate else data
        return taken

    def hear(self, count: int) -> list[dict[str, str]]:
        """Read so many blocks, as fields."""
        blocks = [block.decode().splitlines() for block in self.blocks(count)]
        return [dict(line.split(": ", 1) for line in block if line) for block in blocks]

    def ids(self, count: int) -> list[int | None]:
        """Read the ids of so many blocks."""
        return [int(heard["id"]) if "id" in heard else None for heard in self.hear(count)]

    def ends(self) -> bytes:
        """Read until the clean end; an end that is not clean raises `http.client.IncompleteRead`."""
        return self.response.read()

    def json(self) -> Any:
        """Read a body that is JSON."""
        return json.loads(self.response.read())


class Deaf:
    """A reader that asks for a stream and reads none of it."""

    def __init__(self, port: int, path: str = "/api/v1/stream") -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read(self) -> bytes:
        """Read it all at last, up to the end or a reset."""
        parts: list[bytes] = []
        try:
            while data := self.socket.recv(65536):
                parts.append(data)
        except ConnectionResetError:
            parts.append(b"<reset>")
        return b"".join(parts)


async def asked(
    method: str, path: str, message: dict[str, Any], *, version: str = "1.1"
) -> tuple[list[Any], int]:
    """Ask a server without a network; return what it sends, and how often it has received *message*."""
    sent: list[Any] = []
    times = 0
    begun = anyio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal times
        times += 1
        if message["type"] == "http.disconnect":
            await begun.wait()
        return message

    async def send(said: Any) -> None:
        sent.append(said)
        begun.set()

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    await ReferenceServer().app({**scope, "http_version": version, "headers": []}, receive, send)
    return sent, times


def established(port: int) -> int:
    """Count the connections to this port that the kernel holds open on the server's side."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == _ESTABLISHED for row in rows)
