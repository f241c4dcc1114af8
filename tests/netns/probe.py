"""Whether this machine and this user can have network namespaces: each thing that is needed is tried for real."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.netns.faults import Arrivals, ruleset, shaper
from tests.netns.namespace import Namespace
from tests.netns.naming import sweep
from tests.netns.tools import (
    ROOT,
    NetnsCommandError,
    NetnsError,
    NetnsUnavailableError,
    tool,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["available", "require"]

_TOOLS = ("ip", "tc", "ss", "nft", "timeout")
_KERNEL = "use a kernel with it (every distribution's own has it; some sandboxes have not)"
_LINK = "probe"
_FAULTS = Arrivals(loss=Fraction(1, 10), refuse=True)

# Their numbers in capabilities(7).
_RIGHTS = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


@cache
def available() -> str | None:
    """
    Tell why there can be no network here, with what to do about it, or return `None` if there can be one.

    The answer is kept for the life of the process.
    """
    try:
        require()
    except NetnsError as error:
        return str(error)
    return None


def require() -> None:
    """
    Try each thing that a network needs.

    Raises:
        NetnsUnavailableError: Something is missing; the error says what, and what to do about it.
    """
    if sys.platform != "linux":
        raise NetnsUnavailableError("only Linux has network namespaces", "use a Linux machine")
    for name in _TOOLS:
        tool(name)
    lacking = [name for name, number in _RIGHTS.items() if not _rights() >> number & 1]
    if lacking:
        raise NetnsUnavailableError(f"this user lacks {' and '.join(lacking)}", ROOT)
    with ExitStack() as spaces:
        space = Namespace("probe")
        _try("network namespaces", lambda: (sweep(), spaces.enter_context(space)), ROOT)
        for what, trial in (
            ("entering a network namespace", lambda: space.inside(socket.socket).close()),
            ("veth links", lambda: _lay(space)),
            ("nftables with `numgen` and `reject`", lambda: space.nft(ruleset({_LINK: _FAULTS}))),
            ("the queue `tbf`", lambda: space.tc("qdisc", "add", "dev", _LINK, "root", *shaper(100))),
            ("ending connections with `ss -K`", lambda: _abort(space)),
        ):
            _try(what, trial, _KERNEL)


def _rights() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def _try(what: str, trial: Callable[[], object], fix: str) -> None:
    try:
        trial()
    except (NetnsCommandError, OSError) as error:
        raise NetnsUnavailableError(f"no {what} here: {error}", fix) from error


def _lay(space: Namespace) -> None:
    space.ip("link", "add", "name", _LINK, "type", "veth", "peer", "name", "peer")


def _abort(space: Namespace) -> None:
    """
    End a connection that is made for it.

    Raises:
        OSError: It lives on.
    """
    listener = space.inside(lambda: socket.create_server(("127.0.0.1", 0)))
    with listener, space.connect("127.0.0.1", listener.getsockname()[1]):
        if not space.abort_connections("127.0.0.1"):
            raise OSError("the kernel does not end them (CONFIG_INET_DIAG_DESTROY)")
