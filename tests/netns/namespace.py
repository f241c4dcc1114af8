"""One network namespace: the commands, sockets, programs and counters inside it."""

from __future__ import annotations

import ctypes
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tests.netns.faults import TABLE
from tests.netns.naming import DIRECTORY, new_name, pids_in, remove
from tests.netns.program import Program
from tests.netns.tools import call

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Namespace"]

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_CONNECT_SECONDS = 5.0


class Namespace:
    """
    A network namespace of this process; use it in a `with` block, at whose end everything in it is gone.

    Args:
        role: A word in lower-case letters that becomes part of the name.

    Attributes:
        name: What `ip netns` calls it.
    """

    def __init__(self, role: str) -> None:
        self.name: str = new_name(role)
        self._programs = ExitStack()

    def __enter__(self) -> Self:
        """
        Make it.

        Raises:
            NetnsCommandError: The kernel refuses.
            NetnsUnavailableError: `ip` is not installed.
        """
        try:
            call("ip", "netns", "add", self.name)
            self.ip("link", "set", "dev", "lo", "up")
        except BaseException:
            if (DIRECTORY / self.name).exists():
                remove(self.name)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End its programs, and remove it even if one of them resists."""
        try:
            self._programs.close()
        finally:
            remove(self.name)

    def ip(self, *arguments: str) -> str:
        """Run `ip` inside and return what it prints."""
        return call("ip", "-n", self.name, *arguments)

    def tc(self, *arguments: str) -> str:
        """Run `tc` inside and return what it prints."""
        return call("tc", "-n", self.name, *arguments)

    def nft(self, rules: str) -> None:
        """Apply *rules* inside, all or none."""
        call("ip", "netns", "exec", self.name, "nft", "-f", "-", text=rules)

    def abort_connections(self, address: str) -> int:
        """
        End the TCP connections of an address of ours with an error, as Android does when a network is left.

        Returns:
            How many there were.
        """
        # It complains about kinds of sockets that it cannot end, and tells on each line one that it did.
        ended = call("ip", "netns", "exec", self.name, "ss", "-K", "-H", "-t", "-4", "-n", "src", address)
        return len(ended.splitlines())

    def run(self, *arguments: str, life: float = 60.0) -> Program:
        """
        Start Python inside, with these arguments, and end it at the latest when the namespace goes.

        Args:
            arguments: As for `python`: `"-m"` and a module, `"-c"` and code, or a script, and what follows it.
            life: Seconds after which it is ended, whatever becomes of us.

        Raises:
            NetnsProgramError: It could not be started.
        """
        return self._programs.enter_context(Program(self.name, arguments, life=life))

    def pids(self) -> list[int]:
        """Return the ids of the processes inside."""
        return pids_in(self.name)

    def inside(self, work: Callable[[], T]) -> T:
        """
        Call *work* in a thread that lies in the namespace: a socket made there belongs there for good.

        Raises:
            OSError: The thread may not enter it.
        """
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._enter_and, work).result()

    def connect(self, host: str, port: int) -> socket.socket:
        """
        Open a TCP connection from inside, to be used from where you are.

        Raises:
            OSError: Nobody answers.
        """
        connection = self.inside(lambda: socket.create_connection((host, port), timeout=_CONNECT_SECONDS))
        # Small writes would wait for acknowledgements that are delayed themselves: 40 ms each time.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def counters(self) -> dict[str, int]:
        """Return the packets that each counter of ours has seen."""
        listed = call("ip", "netns", "exec", self.name, "nft", "-j", "list", "counters", "table", "ip", TABLE)
        found: list[dict[str, Any]] = json.loads(listed)["nftables"]
        return {item["counter"]["name"]: item["counter"]["packets"] for item in found if "counter" in item}

    def tcp(self) -> dict[str, int]:
        """Return the kernel's counters of TCP inside, by the names that the kernel gives them."""
        text = self.inside(Path("/proc/thread-self/net/snmp").read_text)
        names, values = (line.split()[1:] for line in text.splitlines() if line.startswith("Tcp:"))
        return {name: int(value) for name, value in zip(names, values, strict=True)}

    def carried(self, link: str) -> int:
        """Return how many bytes have left over a link, with everything down to the Ethernet header."""
        (found,) = json.loads(self.ip("-j", "-s", "link", "show", "dev", link))
        return int(found["stats64"]["tx"]["bytes"])

    def _enter_and(self, work: Callable[[], T]) -> T:
        libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
        handle = os.open(DIRECTORY / self.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(handle, _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), self.name)
        finally:
            os.close(handle)
        return work()
