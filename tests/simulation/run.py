"""Plays a plan: one consumer, process after process, against the simulated server, in virtual time."""

import asyncio
import logging
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import anyio
from anyio.lowlevel import checkpoint

from resilient_sse import (
    BadStatusError,
    Gap,
    ResilientSSEError,
    ResilientStream,
    ServerSentEvent,
    integers,
    resume,
)
from resilient_sse.checkpoints import MemoryCheckpoint
from resilient_sse.testing import run_in_virtual_time
from tests.simulation.plan import Dialect, Do
from tests.simulation.record import Did, Note, Outcome, Record, Seen
from tests.simulation.server import PARAM, URL, Server

PATIENCE = 100_000.0
"""Virtual seconds after which a run counts as stuck."""

BODY = b'{"topic":"simulation"}'
"""What a POST says."""

_GONE = 410
_DIALECTS = {
    Dialect.HEADER: {},
    Dialect.QUERY: resume.query(PARAM, header=False),
    Dialect.JSON: resume.json_field("n", PARAM),
    Dialect.LOCATION: resume.location(),
}
_AS_THEY_ARE = (
    *("dedup", "dedup_window", "stall_timeout", "event_timeout", "stall_on", "on_eof"),
    *("max_retries", "max_server_delay", "compression"),
)


class _ProcessDiesError(Exception):
    """What the consumer's handler raises."""


class Store(MemoryCheckpoint):
    """A store that outlives the consumer's processes and tells of each save."""

    def __init__(self, saved):
        super().__init__()
        self._saved = saved

    async def save(self, key, last_event_id, *, expected):
        saved = await super().save(key, last_event_id, expected=expected)
        self._saved(last_event_id)
        return saved


async def _spent_after():
    yield BODY


def arguments(options, store, observe, jitter):
    """Return the arguments of a stream."""
    found = {name: getattr(options, name) for name in _AS_THEY_ARE} | _DIALECTS[options.dialect]
    found["backoff"] = replace(options.pace, random=jitter)
    if store is not None:
        found |= {"checkpoint": store, "ack": options.ack}
    if options.post:
        found |= {"method": "POST", "content": _spent_after() if options.once else BODY}
    if options.filtered:
        found["events"] = lambda event: event.event != "other"
    if options.numbered:
        found["sequence"] = integers
    if options.watched:
        return found | {"until": "done", "observers": [observe]}
    return found | {"on_state_change": observe, "on_gap": observe}


def play(plan):
    """Run *plan* from beginning to end and return what happened; the same plan gives the same record."""
    run = _Run(plan)
    with quiet():
        run_in_virtual_time(run.whole, backend=plan.backend)
    return run.record


class _Run:
    def __init__(self, plan):
        self.plan = plan
        self.server = Server(plan)
        self.record = Record(plan, self.server.log)
        self._sources = Random(plan.seed)
        self._begin_anew()
        self._at_event = {deed.event: deed for deed in plan.deeds if deed.event}
        self._stream = self._closed = None
        self._handed = 0
        self._again = plan.options.again

    def _begin_anew(self):
        self._stored = None
        self._store = Store(self._saved) if self.plan.options.checkpoint else None

    def _saved(self, event_id):
        self._stored = event_id
        self.note(Did.SAVED, id=event_id)

    async def whole(self):
        """Run processes until one ends by itself."""
        with anyio.move_on_after(PATIENCE):
            async with self.server.client() as client, anyio.create_task_group() as tasks:
                for deed in self.plan.deeds:
                    if not deed.event:
                        tasks.start_soon(self._later, deed)
                while not await self._process(client):
                    pass
                tasks.cancel_scope.cancel()
            self.record.max_live = self.server.script.max_live
            self.record.left_open = self.server.script.live
            self.server.script.verify()

    async def _process(self, client):
        """Run one process; return whether it was the last."""
        log = self.server.log
        log.process += 1
        start = log.start = log.meant(self._stored)
        log.floor = 0 if start is None else start.ordinal
        jitter = Random(self._sources.random()).random  # each stream has a source of its own
        given = arguments(self.plan.options, self._store, self.observe, jitter)
        stream = self._stream = ResilientStream(URL, client=client, **given)
        self.note(Did.BEGAN, id=self._stored, item=start)
        fresh = False
        with anyio.CancelScope() as scope:
            try:
                async with stream:
                    fresh = await self._consume(stream, scope)
            except _ProcessDiesError:
                pass
        self.note(Did.LEFT)
        if fresh:  # the cursor is worth nothing any more: the consumer begins anew
            self._begin_anew()
        return self.record.outcome is not Outcome.STUCK

    async def _consume(self, stream, scope):
        """Read to the end; return whether the server has told that the cursor is worth nothing."""
        source = stream.activity() if self.plan.options.activity else stream
        cancel = None
        while True:
            try:
                event = await self._next(source, cancel)
            except StopAsyncIteration:
                self.record.outcome = Outcome.CLOSED if self._closed is stream else Outcome.DONE
                self.note(Did.ENDED)
                return False
            except ResilientSSEError as error:
                self.note(Did.ERROR, error=error)
                if not self._again:
                    self.record.outcome = Outcome.ERROR
                    return False
                self._again -= 1
                if isinstance(error, BadStatusError) and error.status == _GONE:
                    return True
                continue
            finally:
                cancel = None
            if event is None:
                self.note(Did.CANCELLED)
                continue
            cancel = await self._handle(stream, event, scope)
            if not self.plan.options.watched and event.event == "done":
                self.record.outcome = Outcome.DONE
                return False

    async def _next(self, source, cancel):
        """Ask for the next event; `None` if the read was cancelled."""
        poll = self.plan.options.poll
        if cancel is None and poll is None:
            return await self._event(source)
        if self.plan.backend == "asyncio" and (cancel is None or cancel.do is Do.CANCEL_TASK):
            try:
                if cancel is None:
                    return await asyncio.wait_for(self._event(source), poll)
                task = asyncio.ensure_future(self._event(source))
                await asyncio.wait({task}, timeout=cancel.seconds)
                task.cancel()
                return await task
            except (TimeoutError, asyncio.CancelledError):
                return None
        with anyio.move_on_after(poll if cancel is None else cancel.seconds):
            return await self._event(source)
        return None

    async def _event(self, source):
        while True:
            item = await anext(source)
            if not (self.plan.options.watched or isinstance(item, Gap)):
                self.observe(item)  # gaps are told by a callback
            if isinstance(item, ServerSentEvent):
                return item
            self.note(Did.ACTIVITY, item=item)

    async def _handle(self, stream, event, scope):
        """Handle one event; return what is to be done to the next read."""
        self._handed += 1
        self.note(Did.HANDED, event=event)
        deed = self._at_event.get(self._handed)
        match deed and deed.do:
            case Do.SLOW:
                await anyio.sleep(deed.seconds)
            case Do.RAISE:
                raise _ProcessDiesError
            case Do.CRASH:
                scope.cancel()
                await checkpoint()
            case Do.RESTART:
                self._restart(stream)
        self.note(Did.HANDLED, event=event)
        if self.plan.options.ack == "manual" and self._store is not None:
            await stream.commit(event)
        return deed if deed and deed.do in (Do.CANCEL, Do.CANCEL_TASK) else None

    async def _later(self, deed):
        await anyio.sleep(deed.seconds)
        stream = self._stream
        if stream is not None and deed.do is Do.RESTART:
            self._restart(stream)
        elif stream is not None:
            self._closed = stream
            self.note(Did.ACLOSE)
            await stream.aclose()
            self.note(Did.ACLOSED)

    def _restart(self, stream):
        self.note(Did.RESTART)
        stream.restart()

    def note(self, did, **more):
        """Write down something of our own."""
        self.observe(Note(did, **more))

    def observe(self, fact):
        """Write down what the stream tells."""
        stream, log = self._stream, self.server.log
        if stream is not None:
            told = (anyio.current_time(), log.process, fact, len(log.requests))
            self.record.seen.append(Seen(*told, stream.last_event_id, stream.state, stream.stats))


@contextmanager
def quiet():
    """Keep the client's log out of it: a run would write hundreds of lines."""
    logger = logging.getLogger("resilient_sse")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
