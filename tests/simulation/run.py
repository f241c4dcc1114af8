"""Plays a plan: one consumer, process after process, against the simulated server, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint

from resilient_sse import Gap, ResilientSSEError, ResilientStream, ServerSentEvent, StateChange
from resilient_sse._core.errors import BadStatusError, CheckpointError
from resilient_sse._core.ports import Checkpoint
from resilient_sse.testing.clock import run_in_virtual_time
from tests.simulation.consumer import Consumer
from tests.simulation.plan import Deed, Plan
from tests.simulation.record import Note, NoteKind, Record, Seen
from tests.simulation.server import SimulatedServer

if TYPE_CHECKING:
    from collections.abc import Generator

    import httpx

    from resilient_sse._core.events import Activity
    from resilient_sse._core.ports import CheckpointStore, Fact

__all__ = ["play", "quiet"]

PATIENCE = 100_000.0
"""Virtual seconds after which a run counts as stuck."""

_GONE = 410


class _ProcessDiesError(Exception):
    """What the consumer's handler raises."""


class _Store:
    """A store in memory that outlives the consumer's processes and tells of each save."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._present: Checkpoint | None = None

    async def load(self, key: str) -> Checkpoint | None:
        del key  # there is one stream
        return self._present

    async def save(self, key: str, last_event_id: str, *, expected: Checkpoint | None) -> Checkpoint:
        if self._present != expected:
            raise CheckpointError("another consumer has moved this position", key=key)
        self._present = Checkpoint(last_event_id, version=1 + (0 if expected is None else expected.version))
        self._run.stored = last_event_id
        self._run.note("saved", last_event_id)
        return self._present


def play(plan: Plan) -> Record:
    """Run *plan* from beginning to end and return what happened; the same plan gives the same record."""
    run = _Run(plan)
    with quiet():
        run_in_virtual_time(run.whole, backend=plan.backend)
    return run.record


class _Run:
    """The consumer of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.server = SimulatedServer(plan)
        self.record = Record(plan, self.server.truth)
        sources = Random(plan.seed)
        self._consumer = Consumer(plan.options, self.observe, self._told, sources)
        self.stored: str | None = None
        self._store: CheckpointStore | None = _Store(self) if plan.options.checkpoint else None
        self._at_event = {deed.event: deed for deed in plan.deeds if not deed.timed}
        self._stream: ResilientStream | None = None
        self._closed: ResilientStream | None = None
        self._handed = 0
        self._again = plan.options.again

    async def whole(self) -> None:
        """Run processes until one ends by itself."""
        with anyio.move_on_after(PATIENCE):
            async with self.server.script.client() as client, anyio.create_task_group() as tasks:
                for deed in self.plan.deeds:
                    if deed.timed:
                        tasks.start_soon(self._later, deed)
                while not await self._process(client):
                    pass
                tasks.cancel_scope.cancel()
            self.record.max_live = self.server.script.max_live
            self.record.left_open = self.server.script.live
            self.server.script.verify()

    async def _process(self, client: httpx.AsyncClient) -> bool:
        """Run one process; return whether it was the last."""
        server = self.server
        server.process += 1
        start = server.start = server.truth.meant(self.stored)
        server.truth.floor = 0 if start is None else start.ordinal
        stream = self._stream = self._consumer.stream(client, self._store)
        source = stream.activity() if self.plan.options.activity else stream
        self.note("process", self.stored)
        fresh = False
        with anyio.CancelScope() as scope:
            try:
                async with stream:
                    fresh = await self._consume(stream, source, scope)
            except _ProcessDiesError:
                pass
        self.note("left")
        if fresh:  # the cursor is worth nothing any more: the consumer begins anew
            self.stored = None
            self._store = _Store(self) if self.plan.options.checkpoint else None
        return self.record.outcome != "stuck"

    async def _consume(
        self, stream: ResilientStream, source: AsyncIterator[Activity], scope: anyio.CancelScope
    ) -> bool:
        """Read to the end; return whether the server has told that the cursor is worth nothing."""
        cancel: Deed | None = None
        while True:
            try:
                event = await self._next(source, cancel)
            except StopAsyncIteration:
                self.record.outcome = "closed" if self._closed is stream else "done"
                self.note("ended")
                return False
            except ResilientSSEError as error:
                self.note("error", type(error).__name__, error=error)
                if not self._again:
                    self.record.outcome = "error"
                    return False
                self._again -= 1
                if isinstance(error, BadStatusError) and error.status == _GONE:
                    return True
                continue
            finally:
                cancel = None
            if event is None:
                self.note("cancelled")
                continue
            cancel = await self._handle(stream, event, scope)
            if self.plan.options.unwatched and event.event == "done":
                self.record.outcome = "done"
                return False

    async def _next(self, source: AsyncIterator[Activity], cancel: Deed | None) -> ServerSentEvent | None:
        """Ask for the next event; `None` if the read was cancelled."""
        if cancel is None:
            return await self._event(source)
        if cancel.kind == "cancel-task" and self.plan.backend == "asyncio":
            task = asyncio.ensure_future(self._event(source))
            await asyncio.wait({task}, timeout=cancel.seconds)
            task.cancel()
            try:
                return await task
            except asyncio.CancelledError:
                return None
        with anyio.move_on_after(cancel.seconds):
            return await self._event(source)
        return None

    async def _event(self, source: AsyncIterator[Activity]) -> ServerSentEvent:
        while True:
            item = await anext(source)
            if self.plan.options.unwatched and not isinstance(item, Gap):
                self.observe(item)  # gaps are told by a callback
            if isinstance(item, ServerSentEvent):
                return item
            self.note("activity", item=item)

    async def _handle(
        self, stream: ResilientStream, event: ServerSentEvent, scope: anyio.CancelScope
    ) -> Deed | None:
        """Handle one event; return what is to be done to the next read."""
        self._handed += 1
        self.note("handed", event=event)
        deed = self._at_event.get(self._handed)
        match deed.kind if deed else None:
            case "slow":
                await anyio.sleep(deed.seconds if deed else 0.0)
            case "raise":
                raise _ProcessDiesError
            case "crash":
                scope.cancel()
                await checkpoint()
            case "restart":
                self.note("restart")
                stream.restart()
            case _:
                pass
        self.note("handled", event=event)
        if self.plan.options.ack == "manual" and self._store is not None:
            await stream.commit(event)
        return deed if deed and deed.kind in ("cancel", "cancel-task") else None

    async def _later(self, deed: Deed) -> None:
        await anyio.sleep(deed.seconds)
        stream = self._stream
        if stream is None:
            return
        if deed.kind == "restart":
            self.note("restart")
            stream.restart()
        else:
            self._closed = stream
            self.note("aclose")
            await stream.aclose()
            self.note("aclosed")

    def _told(self, fact: StateChange | Gap) -> None:
        """Write down what a callback was told."""
        self.record.told.append((self.server.process, fact))

    def note(self, kind: NoteKind, text: str | None = None, **more: Any) -> None:
        """Write down something of our own."""
        self.observe(Note(kind, text, **more))

    def observe(self, fact: Fact | Note) -> None:
        """Write down what the stream tells."""
        stream = self._stream
        if stream is None:
            return
        self.record.seen.append(
            Seen(
                at=anyio.current_time(),
                process=self.server.process,
                fact=fact,
                requests=len(self.server.truth.requests),
                last_event_id=stream.last_event_id,
                state=stream.state,
                stats=stream.stats,
                start=self.server.start if isinstance(fact, Note) and fact.kind == "process" else None,
                raised=self._consumer.raised,
            )
        )


@contextmanager
def quiet() -> Generator[None]:
    """Keep the client's log out of it: a sweep would write millions of lines."""
    logger = logging.getLogger("resilient_sse")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
