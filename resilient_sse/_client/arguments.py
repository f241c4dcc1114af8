"""Arguments that have another name here: what other libraries call them, and what is meant."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["explained"]

P = ParamSpec("P")

# What other libraries call what is here something else, or comes with a client.
_SAID_ELSEWHERE = {
    **dict.fromkeys(
        ("timeout", "read_timeout", "idle_timeout", "heartbeat_timeout"),
        "stall_timeout for silence, or connect_timeout and event_timeout",
    ),
    **dict.fromkeys(("data", "body"), "content or json"),
    **dict.fromkeys(("retries", "max_attempts", "max_connect_retry"), "max_retries"),
    **dict.fromkeys(
        ("retry", "retry_delay", "reconnect_delay", "initial_delay", "max_delay", "reconnection_time"),
        "backoff=Backoff(...)",
    ),
    **dict.fromkeys(
        (
            "cookies",
            "verify",
            "cert",
            "proxy",
            "proxies",
            "http2",
            "transport",
            "limits",
            "session",
            "trust_env",
        ),
        "client=httpx.AsyncClient(...), which has it",
    ),
    **dict.fromkeys(("on_open", "on_error", "on_disconnect", "on_reconnect"), "on_state_change"),
    "last_id": "last_event_id",
}


def explained(init: Callable[P, None]) -> Callable[P, None]:
    """Name what is meant, where an argument has the name that another library gives it."""
    known = {"url", *(init.__kwdefaults__ or ())}

    @functools.wraps(init)
    def explaining(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs.keys() - known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = _SAID_ELSEWHERE.get(name) or (near[0] if near else "")
            hint = f"; use {meant}" if meant else ""
            raise TypeError(f"ResilientStream() has no argument {name!r}{hint}")
        init(*args, **kwargs)

    setattr(explaining, "__kwdefaults__", init.__kwdefaults__)  # noqa: B010 - where defaults are looked up
    return explaining
