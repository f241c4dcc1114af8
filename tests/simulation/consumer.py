"""How the consumer of a run makes its streams, and what it gives them to call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from resilient_sse import Backoff, Gap, ResilientStream, ServerSentEvent, StateChange, Verdict, integers
from resilient_sse._core.errors import BadStatusError, ConnectionLostError, ResilientSSEError
from tests.simulation.plan import Options
from tests.simulation.redirects import URL
from tests.simulation.words import verdict_in

if TYPE_CHECKING:
    import httpx

    from resilient_sse._core.ports import CheckpointStore, Fact

__all__ = ["BODY", "OWN_HEADERS", "Consumer", "seeded", "token_in"]

BODY = b'{"topic":"simulation"}'
"""What a POST says."""

OWN_HEADERS = ("authorization", "cookie", "x-own")
"""Headers that only the caller gives."""


class Consumer:
    """
    Makes one stream for each process of the consumer.

    Args:
        options: The plan's.
        observe: Is told every fact.
        told: Is told what the callbacks are told, if there are any.
        sources: Where the jitter of each stream comes from.
    """

    def __init__(
        self,
        options: Options,
        observe: Callable[[Fact], None],
        told: Callable[[StateChange | Gap], None],
        sources: Random,
    ) -> None:
        self._options = options
        self._observe = observe
        self._told = told
        self._sources = sources
        self._calls = self._tokens = 0
        self.raised: int = 0
        """How often what the present stream calls has failed."""

    def stream(self, client: httpx.AsyncClient, store: CheckpointStore | None) -> ResilientStream:
        """Make the stream of a new process."""
        options = self._options
        self.raised = 0
        make = partial(ResilientStream, URL, client=client, checkpoint=store)
        if store is not None:
            make = partial(make, ack=options.ack)
        return make(
            **self._request(),
            **self._calls_back(),
            sequence=integers if options.sequence else None,
            dedup=options.dedup,
            dedup_window=options.dedup_window,
            stall_timeout=options.stall_timeout,
            event_timeout=options.event_timeout,
            stall_on=options.stall_on,
            on_eof=options.on_eof,
            max_retries=options.max_retries,
            max_server_delay=options.max_server_delay,
            backoff=seeded(options.pace, self._sources),
            compression=options.compression,
            classify=partial(_classified, options) if options.classify else None,
            events=_wanted if options.filtered else None,
            until=None if options.unwatched else "done",
        )

    def _request(self) -> dict[str, Any]:
        options = self._options
        request: dict[str, Any] = {}
        if options.method == "POST":
            request = {"method": "POST", "content": _spent_after() if options.body == "once" else BODY}
        if options.credentials != "none":
            request["headers"] = self._fresh if options.credentials == "fresh" else _headers(0)
        return request

    def _calls_back(self) -> dict[str, Any]:
        if self._options.unwatched:
            return {"on_state_change": self._observe, "on_gap": self._observe}
        if not self._options.raises:
            return {"observers": [self._observe]}
        return {
            # The one that fails comes first: it must not keep the other from being told.
            "observers": [self._fail_now_and_then, self._observe],
            "on_state_change": self._called,
            "on_gap": self._called,
        }

    async def _fresh(self) -> dict[str, str]:
        await checkpoint()
        self._tokens += 1
        return _headers(self._tokens)

    async def _called(self, fact: StateChange | Gap) -> None:
        self._told(fact)
        await checkpoint()
        self._fail_now_and_then(fact)

    def _fail_now_and_then(self, fact: Fact) -> None:
        self._calls += 1
        if self._calls % self._options.raises == 0:
            self.raised += 1
            raise RuntimeError(f"the consumer fails over {type(fact).__name__}")


def seeded(backoff: Backoff, sources: Random) -> Backoff:
    """Return *backoff* for one more stream, which gets a source of jitter of its own out of *sources*."""
    return replace(backoff, random=Random(sources.random()).random)


def token_in(authorization: str) -> int:
    """Return the number of a token."""
    return int(authorization.removeprefix("Bearer "))


def _headers(token: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-Own": "yes", "Cookie": "own=yes"}


async def _spent_after() -> AsyncIterator[bytes]:
    yield BODY


def _classified(options: Options, error: ResilientSSEError) -> Verdict | None:
    if isinstance(error, BadStatusError):
        return verdict_in(options.classify, str(error.status))
    if isinstance(error, ConnectionLostError):
        return verdict_in(options.classify, error.reason.value)
    return None


def _wanted(event: ServerSentEvent) -> bool:
    return event.event != "other"
