"""Arguments that have another name here: what other libraries call them, and what is meant."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

# What is meant, and what other libraries call what is here something else, or comes with a client.
_EXPLAINED_ELSEWHERE = {
    "stall_timeout for silence, or connect_timeout and event_timeout": (
        "timeout read_timeout idle_timeout heartbeat_timeout"
    ),
    "content or json": "data body",
    "max_retries": "retries max_attempts max_connect_retry",
    "backoff=Backoff(...)": (
        "retry retry_delay initial_retry_delay retry_delay_strategy reconnect_delay reconnect_interval "
        "initial_delay max_delay reconnection_time"
    ),
    "classify and max_retries": "error_strategy",
    "client=httpx.AsyncClient(...), which has it": (
        "cookies verify cert proxy proxies http2 transport limits session trust_env"
    ),
    "on_state_change": "on_open on_error on_disconnect on_reconnect",
    "last_event_id": "last_id",
}


def explained(init: Callable[P, None]) -> Callable[P, None]:
    """Name what is meant, where an argument has the name that another library gives it."""
    known = {"url", *(init.__kwdefaults__ or ())}

    @functools.wraps(init)
    def explaining(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs.keys() - known:
            said = [meant for meant, names in _EXPLAINED_ELSEWHERE.items() if name in names.split()]
            meant = said or difflib.get_close_matches(name, known, n=1)
            hint = f"; use {meant[0]}" if meant else ""
            raise TypeError(f"ResilientStream() has no argument {name!r}{hint}")
        init(*args, **kwargs)

    setattr(explaining, "__kwdefaults__", init.__kwdefaults__)  # noqa: B010 - where defaults are looked up
    return explaining
