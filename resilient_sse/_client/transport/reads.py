"""
Work that goes on while the consumer's task does something else: a wait for bytes, or for the head of an answer.

A transport that is not ours closes the connection of a read that is cancelled.  So work that is woken is left as
it is, and the next call goes on with it; meanwhile the consumer's task can tell of the silence.  What it opened,
scopes of anyio above all, stays open around that, and has to be closed by `end` before the task goes on.

On asyncio such a scope must have no deadline, or it would strike whatever the task waits for by then.  httpcore's
have none, for we ask for no timeout of reads.  What the caller's own functions hold is not known: work that they
are a part of runs in a task of its own.
"""

from __future__ import annotations

import asyncio
import math
import sys
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import ref

import anyio
import httpx
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from resilient_sse._client.backends import CLOSE_SECONDS, Alarm, StandIn, finish, hold, is_native, on_asyncio

if TYPE_CHECKING:
    from resilient_sse._client.transport.http1 import ResponseStream

WOKEN: Final = b""
"""What a read returns if nothing came: an empty chunk."""

# Seconds in which a read returns what is there already; being woken at once comes behind that.
_AT_HAND: Final = 1e-9

# So many chunks come together at most: others want a turn.
_MOST_PARTS: Final = 64

# Where the streams of httpx's own transport come from.
_BARE: Final = frozenset({"httpx._transports.default", "httpx2._transports.default"})

# What is yielded before a wait, if something is at hand.
_PARTED: Final[Any] = object()


Source: TypeAlias = "ResponseStream | Held | ChildTask"
"""
The reads of one response.

`read` returns what has come, `None` at the end, and nothing after so many seconds or after `wake`.  `since` is
when it began to wait, on the clock of the event loop; `None` if it had not to.  `pending` tells whether a read was
woken and is still under way; `end` cancels it, and sees it to its end, in the task that began it.
"""


class BodyTrace:
    """
    What happens below a body of httpx's: how much of it is at hand, and when httpcore tidies up behind it.

    As the trace of the request it knows of the end, at which `Task.cancel` would make httpcore lose the
    connection's slot for good (encode/httpcore#1093).  In the place of `read` of an HTTP/1.1 connection it parts
    from the work before there is a wait, if something has come: no scope is open there.  And it opens none for a
    timeout of reads, which is never asked for and takes httpcore 7 us.

    Args:
        response: Whose body; `None` for work that is no body.

    Attributes:
        parts: What has come and was not handed on.
        splits: Whether httpcore asks here before it waits.
        ending: Whether httpcore has come to the end of the body.
    """

    __slots__ = ("_network", "_receive", "ending", "parts", "splits")

    _network: Callable[[], Any]
    _receive: Callable[[int], Coroutine[Any, Any, bytes]]

    def __init__(self, response: httpx.Response | None = None) -> None:
        self.parts: list[Any] = []
        self.splits = self.ending = False
        extensions = {} if response is None else response.extensions
        network: Any = extensions.get("network_stream")
        receive: Any = getattr(getattr(network, "_stream", None), "receive", None)
        stream = getattr(response, "stream", None)
        # Whatever else lies between may hold a scope around each chunk.
        bare = type(getattr(stream, "_stream", None)).__module__ in _BARE
        self._network = lambda: None
        if receive is not None and bare and extensions.get("http_version") != b"HTTP/2":
            self._receive, self._network = receive, ref(network)  # which is to refer to this object

    def take(self) -> Any:  # noqa: ANN401 - bytes, or what other work returns
        """Hand on what has come."""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        return data

    @types.coroutine
    def _read(self, max_bytes: int, timeout: object = None) -> Generator[Any, Any, bytes]:  # noqa: ARG002 - httpcore's
        if self.parts:
            yield _PARTED
        try:
            return (yield from self._receive(max_bytes).__await__())
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise httpx.ReadError(str(exc)) from exc

    async def __call__(self, name: str, _info: object) -> None:
        if name.endswith("receive_response_body.started") and (network := self._network()) is not None:
            network.read, self.splits = self._read, True
        elif name.endswith(("receive_response_body.complete", "receive_response_body.failed")):
            self.ending = True
            if self.splits and (network := self._network()) is not None:
                del network.read  # others may have the connection after us
            if self.parts:
                await _parted()


@types.coroutine
def _parted() -> Generator[Any, Any, None]:
    yield _PARTED


class Held:
    """
    On asyncio: the work runs in the consumer's task, which waits for a stand-in of what the work waits for.

    Chunks that are at hand come together.
    """

    __slots__ = (
        "_alarm", "_begin", "_below", "_kept", "_loop", "_read", "_stand_in", "_waited", "pending", "since",
    )  # fmt: skip

    def __init__(self, begin: Callable[[], Awaitable[Any]], below: BodyTrace | None = None) -> None:
        self._begin = begin
        self._below = below or BodyTrace()
        self._kept: asyncio.CancelledError | None = None
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop, self.wake)
        self._read: Any = None
        self._waited: Any = None
        self._stand_in: StandIn | None = None
        self.since: float | None = None
        self.pending = False

    @types.coroutine
    def read(self, seconds: float, /) -> Generator[Any, Any, Any]:
        read: Any = self._read or self._begin()
        waited, below = self._waited, self._below
        self._read, self._waited, self.since, self.pending = None, None, None, False
        thrown: BaseException | None = None
        try:
            while True:
                try:
                    if waited is None or thrown is not None or waited.done():
                        waited = read.send(None) if thrown is None else read.throw(thrown)
                        thrown = None
                except StopIteration as end:
                    if self._kept is not None:
                        break
                    below.parts.append(end.value)
                    if not below.splits or len(below.parts) == _MOST_PARTS:
                        return below.take()
                    read, waited = self._begin(), None
                    continue
                if waited is _PARTED:
                    self._read = read
                    return below.take()
                if self.since is None:
                    self.since = self._loop.time()
                # Each time, for it may have rung as something came that was not enough.
                self._alarm.set(self.since + seconds)
                # Nothing is sleep(0).
                self._stand_in = waited and StandIn(
                    waited, partial(self._keep, waited) if below.ending else waited.cancel
                )
                try:
                    yield self._stand_in
                except asyncio.CancelledError as exc:
                    if waited is None and below.ending:
                        self._kept = exc
                    elif waited is None or not waited.cancelled():
                        thrown = exc
                except BaseException as exc:  # noqa: BLE001 - the read gets it
                    if waited is None or not waited.done():
                        thrown = exc
                if thrown is None and waited is not None and not waited.done():
                    self._read, self._waited, self.pending = read, waited, True
                    return WOKEN
        except Exception as exc:
            if self._kept is None:
                if isinstance(exc, StopAsyncIteration):
                    return None  # the end of chunks: an opening of this kind runs no function of the caller's
                raise
        finally:  # an error refers to this frame; nothing here may refer back
            self._stand_in = read = waited = thrown = None
        kept, self._kept = self._kept, None
        raise kept

    def _keep(self, waited: asyncio.Future[Any], msg: object = None) -> bool:
        """Keep a cancellation until httpcore has tidied up, if that does not take long."""
        cancellation = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        if not is_native(cancellation):
            return waited.cancel(msg)
        self._kept = cancellation
        self._loop.call_later(CLOSE_SECONDS, waited.cancel, msg)
        return True

    def wake(self) -> None:
        if self._stand_in is not None:
            self._stand_in.wake()

    async def end(self) -> None:
        self._alarm.cancel()
        read, self._read, self._waited, self.pending = self._read, None, None, False
        if read is not None:
            await hold(_unwound(read))


async def _unwound(read: Any) -> None:  # noqa: ANN401 - what an asynchronous iterator returns
    with suppress(asyncio.CancelledError, Exception):
        await _cancelled(read)


@types.coroutine
def _cancelled(read: Any) -> Generator[Any, Any, None]:  # noqa: ANN401 - see above
    step = read.throw(asyncio.CancelledError())
    while True:
        try:
            sent = yield step
        except BaseException as exc:  # noqa: BLE001 - the read gets it
            step = read.throw(exc)
        else:
            step = read.send(sent)


class Apart:
    """
    On asyncio: an opening runs in a task of its own, where scopes that it holds strike nobody else.

    What it sets in its context is set for the consumer when it is done.
    """

    __slots__ = ("_begin", "_context", "_late", "_task")

    def __init__(
        self, begin: Callable[[], Awaitable[Any]], late: Callable[[Any], Coroutine[Any, Any, None]]
    ) -> None:
        self._begin = begin
        self._late = late
        self._context = copy_context()
        self._task: asyncio.Task[Any] | None = None

    async def read(self, seconds: float, /) -> Any:  # noqa: ANN401 - what the work returns
        task = self._task = self._task or asyncio.get_running_loop().create_task(
            self._run(), context=self._context
        )
        try:
            await asyncio.wait((task,), timeout=None if seconds == math.inf else seconds)
            if not task.done():
                return WOKEN
            self._task = None
            for variable, value in self._context.items():
                if variable.get(WOKEN) is not value:
                    variable.set(value)
            if task.cancelled():  # by a scope that has left its function, for nobody else has this task
                raise TimeoutError("a timeout has cancelled the request")
            return task.result()
        finally:
            del task  # an error refers to this frame

    async def _run(self) -> Any:  # noqa: ANN401 - see above
        return await self._begin()

    async def end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with anyio.CancelScope(shield=True):
                await hold(self._given_back(task))

    async def _given_back(self, opening: asyncio.Task[Any]) -> None:
        """Wait for the end of what was cancelled, and hand on what it has opened all the same."""
        with suppress(asyncio.CancelledError, Exception):
            await self._late(await opening)


class ChildTask:
    """On any other event loop: the work runs in a child task, in the context of its parent."""

    __slots__ = ("_begin", "_data", "_done", "_failure", "_late", "_scope", "_tasks", "pending", "since")

    def __init__(
        self,
        begin: Callable[[], Awaitable[Any]],
        late: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._begin = begin
        self._late = late
        self._done = anyio.Event()
        self._data: Any = None
        self._failure: BaseException | None = None
        self._scope: anyio.CancelScope | None = None
        self._tasks: TaskGroup | None = None
        self.since: float | None = None
        self.pending = False

    async def read(self, seconds: float, /) -> Any:  # noqa: ANN401 - what the work returns
        self.since = anyio.current_time()
        if self._tasks is None:
            self._done = anyio.Event()
            self._tasks = await anyio.create_task_group().__aenter__()
            self._tasks.start_soon(self._run, self._done, _own_task().context)
            self.pending = True
        try:
            with anyio.CancelScope(deadline=self.since + max(seconds, _AT_HAND)) as self._scope:
                await self._done.wait()
        except BaseException:
            await self.end()
            raise
        finally:
            self._scope = None
        if not self._done.is_set():
            return WOKEN
        data, failure, self._data = self._data, self._failure, None
        await self.end()
        if failure is None:
            return data
        try:
            raise failure
        finally:
            del failure  # it refers to this frame

    async def _run(self, done: anyio.Event, context: Context) -> None:
        try:
            _own_task().context = context  # from the next step on
            await checkpoint()
            self._data = await self._begin()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:  # noqa: BLE001 - raised again, without a group around it
            self._failure = exc
        finally:
            done.set()

    def wake(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def end(self) -> None:
        tasks, self._tasks = self._tasks, None
        self.pending, self._failure = False, None
        try:
            if tasks is not None:
                if not self._done.is_set():
                    tasks.cancel_scope.cancel()
                await tasks.__aexit__(None, None, None)
        finally:
            response, self._data = self._data, None
            if response is not None and self._late is not None:  # as the one that waited was cancelled
                await finish(partial(self._late, response), within=CLOSE_SECONDS)


def _own_task() -> Any:  # noqa: ANN401 - what trio calls a task
    return sys.modules["trio"].lowlevel.current_task()


def reads_of(response: httpx.Response, chunks: AsyncIterator[bytes]) -> Source:
    """Return the reads of these *chunks*, the body of *response*, that suit the present event loop."""
    if not on_asyncio():
        return ChildTask(partial(anext, chunks, None))
    below = response.request.extensions["trace"] = BodyTrace(response)
    return Held(chunks.__anext__, below)


def waits_for(
    begin: Callable[[], Awaitable[Any]], *, apart: bool, late: Callable[[Any], Coroutine[Any, Any, None]]
) -> Held | Apart | ChildTask:
    """
    Return what does the work of *begin* as it suits the present event loop.

    Args:
        begin: Begins it.
        apart: Whether functions of the caller's are a part of it.
        late: Takes its result if that came at the very moment of a cancellation.
    """
    if not on_asyncio():
        return ChildTask(begin, late)
    return Apart(begin, late) if apart else Held(begin)
