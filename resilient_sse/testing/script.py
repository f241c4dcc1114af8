"""
A scripted server in memory: tests of an HTTP client that read as conversations.

Each request takes the next step.  There is no socket, and all waiting is on the event loop's clock: in virtual
time a test of an hour is over at once.  A connection waits like a socket, fails like httpcore, and is closed
exactly once.  The timeouts that httpx sends along with a request strike: mind its default of five seconds.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import NoneType
from typing import NoReturn, TypeAlias, TypedDict, TypeVar, Unpack

import anyio
import anyio.lowlevel
import httpx

from resilient_sse._client.backends import on_asyncio
from resilient_sse._core.checks import check_count
from resilient_sse.testing.checks import check, check_whole, shown
from resilient_sse.testing.wire import Compressor, Pause, counted, shortened

CUT_SHORT = "peer closed connection without sending complete message body (incomplete chunked read)"
"""How httpcore words a body that ends in the middle."""

_EARLY = 1e-9
"""Seconds by which asyncio's timers may be early: then virtual time would not come to what is asked for again."""

HeaderItems: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
"""Response headers; as pairs when one of them occurs more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """A request as the server saw it, *at* so many seconds on the event loop's clock."""

    method: str
    url: str
    headers: httpx.Headers
    content: bytes
    at: float

    @property
    def last_event_id(self) -> str | None:
        """The `Last-Event-ID` header, read as UTF-8 as the standard wants it; `None` if there was none."""
        for name, value in self.headers.raw:
            if name.lower() == b"last-event-id":
                return value.decode("utf-8", "replace")
        return None

    def __str__(self) -> str:
        resumed = "" if self.last_event_id is None else f" (Last-Event-ID: {self.last_event_id})"
        return f"{self.method} {self.url} at {self.at:g} s{resumed}"


class Ending(enum.Enum):
    """How the body of a reply ends; the values are the words of the transcript."""

    END = "a clean end"
    DROP = "a drop"
    CUT = "a cut"
    HANG = "silence"


class Reply:
    """
    An answer: status, headers, chunks with pauses between them, and an ending.

    Each chunk is one read of the client.  The ending methods return the reply itself, so that a handler can
    write `return Reply(event("a")).drop()`.  Without one the body ends cleanly.

    Args:
        *parts: Chunks (`bytes`) and pauses, in order.  An empty chunk is left out.
        status: The status code.
        headers: Response headers.
        content_type: The media type, unless *headers* has one; `None` sends none.
        gzip: Compress, with a flush after each chunk, and say so in `Content-Encoding`.
        after: Seconds from the request to the response headers; `math.inf` for a server that never answers.
        close_takes: Seconds that `aclose()` on the client's side takes.
    """

    def __init__(
        self,
        *parts: bytes | Pause,
        status: int = 200,
        headers: HeaderItems | None = None,
        content_type: str | None = "text/event-stream",
        gzip: bool = False,
        after: float = 0.0,
        close_takes: float = 0.0,
    ) -> None:
        for part in parts:
            check("parts", part, (bytes, Pause), "bytes, as event() makes them, or pause(seconds)")
        check("status", status, int, "a whole number such as 503")
        _check_wait("after", after)
        _check_wait("close_takes", close_takes)
        self.parts = parts
        self.status = status
        self.headers: httpx.Headers = httpx.Headers(headers)
        self.gzip = gzip
        self.after = after
        self.close_takes = close_takes
        self.ending: Ending = Ending.END
        self.failure: Exception | None = None
        if content_type is not None:
            self.headers.setdefault("Content-Type", content_type)
        if gzip:
            self.headers["Content-Encoding"] = "gzip"

    def end(self) -> Reply:
        """End the body cleanly, as a server does that has said everything."""
        return self._with_ending(Ending.END)

    def drop(self, error: Exception | None = None) -> Reply:
        """Reset the connection after the last part: reading raises *error*, or `httpx.ReadError`."""
        return self._with_ending(Ending.DROP, error or httpx.ReadError(""))

    def cut(self) -> Reply:
        """Close the connection in mid-body: `httpx.RemoteProtocolError`, in httpcore's words."""
        return self._with_ending(Ending.CUT, httpx.RemoteProtocolError(CUT_SHORT))

    def hang(self) -> Reply:
        """Keep silent after the last part until the client closes, is cancelled or times out."""
        return self._with_ending(Ending.HANG)

    async def play(self, connection: ScriptedConnection) -> httpx.Response:
        """Send the headers over *connection* and return the response whose body is still to come."""
        await connection.head(anyio.current_time() + self.after)
        due = anyio.current_time()
        compressor = Compressor() if self.gzip else None
        # The server keeps its own time: a chunk after `pause(10)` is sent ten seconds after the one before it,
        # even if the client is slow to ask.  A slow reader finds waiting what was sent meanwhile.
        for part in self.parts:
            if isinstance(part, Pause):
                due += part.seconds
            elif part:  # an empty read would mean the end of the connection
                connection.send(due, compressor.compress(part) if compressor else part)
        if compressor and self.ending is Ending.END:
            connection.send(due, compressor.finish())
        if self.ending is not Ending.HANG:
            connection.send(due, self.failure)
        connection.close_takes = self.close_takes
        return httpx.Response(self.status, headers=self.headers, stream=connection)

    def __str__(self) -> str:
        if self.after == math.inf:
            return "no answer"
        chunks = [part for part in self.parts if isinstance(part, bytes)]
        size = counted(sum(map(len, chunks)), "byte")
        return f"{self.status}, {counted(len(chunks), 'chunk')} ({size}), then {self.ending.value}"

    def _with_ending(self, ending: Ending, failure: Exception | None = None) -> Reply:
        self.ending, self.failure = ending, failure
        return self


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    No connection at all: the request fails after so many seconds, `math.inf` for a host that swallows packets.

    *error* is what it raises; `None` (the default) is a closed port's `httpx.ConnectError`.
    """

    error: Exception | None = None
    after: float = 0.0

    def __post_init__(self) -> None:
        check("error", self.error, (Exception, NoneType), "an exception such as httpx.ConnectError('')")
        _check_wait("after", self.after)

    async def play(self, timeouts: Mapping[str, float | None]) -> NoReturn:
        """Fail the request: with `httpx.ConnectTimeout` if the `connect` of *timeouts* strikes before."""
        limit = timeouts.get("connect")
        if limit is not None and limit < self.after:
            await anyio.sleep(limit)
            raise httpx.ConnectTimeout("")
        await anyio.sleep(self.after)
        error = self.error or httpx.ConnectError("All connection attempts failed")
        try:
            raise error.with_traceback(None)  # as in `ScriptedConnection`
        finally:
            del error  # it refers to this frame

    def __str__(self) -> str:
        return "no connection" if self.error is None else f"no connection: {self.error!r}"


Step: TypeAlias = Reply | Refusal
"""What the server does with one request."""

Handler: TypeAlias = Callable[[RecordedRequest], Step | Awaitable[Step]]
"""Looks at a request, perhaps asserts something about it, and returns a step or raises an error of httpx."""


class ScriptedConnection(httpx.AsyncByteStream):
    """
    An accepted connection, from its request to the moment when the client lets go of it: *on_close* hears of that.

    What is under way on it arrives in its order.  *timeouts* is what httpx sends along with a request: seconds, or
    `None`, under `connect`, `read`, ...
    """

    def __init__(
        self, name: str, timeouts: Mapping[str, float | None], on_close: Callable[[ScriptedConnection], None]
    ) -> None:
        self.name = name
        self.close_takes: float = 0.0
        self.closed: bool = False
        """Whether the client has let go of it."""
        self.dark: bool = False
        """Whether nothing passes."""
        limit = timeouts.get("read")
        self._read_timeout = math.inf if limit is None else limit
        self._on_close = on_close
        self._under_way: deque[tuple[float, bytes | BaseException | None]] = deque()
        self._news = anyio.Event()
        self._closing = self._broken = False

    @property
    def is_open(self) -> bool:
        """Whether neither side has given it up."""
        return not (self.closed or self._broken)

    def send(self, due: float, item: bytes | BaseException | None) -> None:
        """Have a chunk arrive at *due* on the event loop's clock, or an error, or with `None` the end."""
        self._under_way.append((due, item))
        self.wake()

    def fail(self, error: Exception) -> None:
        """Break: what is under way is lost, and the client's read raises *error*, also in the dark."""
        self._under_way.clear()
        self._broken, self.dark = True, False
        self.send(-math.inf, error)

    def wake(self) -> None:
        """Have a waiting read look again."""
        self._news.set()

    def close(self) -> None:
        """Let go of the connection; a read that is pending on it fails.  Doing it twice is doing it once."""
        if not self.closed:
            self.closed = True
            self.wake()
            self._on_close(self)

    async def head(self, due: float) -> None:
        """Wait for the headers, which arrive at *due*, before all else; errors as in `_read`."""
        self._under_way.appendleft((due, b""))
        await self._read()

    async def _read(self) -> bytes | None:
        """
        Wait as a socket's reader does for what arrives next.

        `httpx.ReadTimeout`: it comes too late for the request's timeout.  `httpx.ReadError`: it is closed.
        """
        limit = anyio.current_time() + self._read_timeout
        await anyio.lowlevel.checkpoint()
        while not self.closed:
            now = anyio.current_time() + _EARLY
            due = self._under_way[0][0] if self._under_way and not self.dark else math.inf
            if due <= now:
                break
            if limit <= now:
                raise httpx.ReadTimeout("")  # httpx's own have no text either
            await self._news_until(min(due, limit))
        else:
            raise httpx.ReadError("")
        _, item = self._under_way.popleft()
        if not isinstance(item, BaseException):
            return item
        try:
            raise item.with_traceback(None)  # an error that is raised again keeps all it has been through
        finally:
            del item  # it refers to this frame

    async def _news_until(self, moment: float) -> None:
        news = self._news = anyio.Event()
        if not on_asyncio():
            with anyio.CancelScope(deadline=moment):
                await news.wait()
            return
        # Under no scope with a deadline: while a read waits, the client may have callbacks run in its task.
        timer = asyncio.get_running_loop().call_at(moment, news.set)
        try:
            await news.wait()
        finally:
            timer.cancel()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (chunk := await self._read()) is not None:
                yield chunk
        except BaseException:
            # httpcore gives up a connection whose body failed or was abandoned, cancellation included.
            self.close()
            raise

    async def aclose(self) -> None:
        """Close the connection, in as long as that takes; only the first call does."""
        if self._closing or self.closed:
            return
        self._closing = True
        try:
            if self.close_takes:
                await anyio.sleep(self.close_takes)
        finally:
            self.close()


StepT = TypeVar("StepT", bound=Step)


class UnexpectedRequestError(AssertionError):
    """The client sent a request that the script has no step for, or one more than the script allows."""

    def __init__(
        self, request: RecordedRequest, conversation: Sequence[str], limit: int | None = None
    ) -> None:
        super().__init__(request, conversation, limit)
        self.request = request
        self.conversation = conversation
        self.limit = limit

    def __str__(self) -> str:
        what = "unexpected request"
        if self.limit is not None:
            what = f"more than {self.limit:,} requests (max_requests), does something retry for ever? last"
        return "\n    ".join(
            (f"{what}: {self.request}; before it:", *(shortened(self.conversation) or ["(nothing)"]))
        )


class ReplyOptions(TypedDict, total=False):
    """What `Script.respond` passes on to `Reply`."""

    status: int
    headers: HeaderItems | None
    content_type: str | None
    gzip: bool
    after: float
    close_takes: float


class ClientOptions(TypedDict, total=False):
    """What `Script.client` passes on to `httpx.AsyncClient`."""

    auth: httpx.Auth | tuple[str, str] | None
    base_url: str
    cookies: dict[str, str]
    follow_redirects: bool
    headers: dict[str, str]
    max_redirects: int
    params: dict[str, str]
    timeout: httpx.Timeout | float | None


class ScriptTransport(httpx.AsyncBaseTransport):
    """The httpx transport that leads to a script; closing it closes what was opened through it."""

    def __init__(
        self, answer: Callable[[httpx.Request, list[ScriptedConnection]], Awaitable[httpx.Response]]
    ) -> None:
        self._answer = answer
        self._connections: list[ScriptedConnection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Play the next step of the script."""
        # The list stays the same one: requests that are still waiting for their step will add to it.
        self._connections[:] = [connection for connection in self._connections if not connection.closed]
        return await self._answer(request, self._connections)

    async def aclose(self) -> None:
        """Close every connection that is still open."""
        for connection in self._connections:
            connection.close()


class Script:
    """
    What a server will do, request by request.

    The methods that add a step return it, so that `script.respond(...)` is followed by its ending: `.drop()`,
    `.cut()`, `.hang()` or `.end()`, the default.  A request beyond the last step raises
    `UnexpectedRequestError`.  It is remembered, for the case that the client under test swallows it: call
    `verify` at the end of a test.

    Args:
        max_requests: How many requests it answers, so that a client that retries for ever does not do that in
            virtual time; the next one is an error.  `None` for no limit.
    """

    def __init__(self, *, max_requests: int | None = 100_000) -> None:
        check_count("max_requests", max_requests, least=1)
        self.max_requests: int | None = max_requests
        self.requests: list[RecordedRequest] = []
        self.max_live: int = 0
        self._steps: deque[Step | Handler] = deque()
        self._fallback: Step | Handler | None = None
        self._complete = False
        self._open: list[ScriptedConnection] = []
        self._conversation: list[str] = []
        self._failure: Exception | None = None  # the first one

    @property
    def live(self) -> int:
        """How many connections are open now: from a request until its response is closed, or has failed."""
        return len(self._open)

    # --- Writing the script

    def respond(self, *parts: bytes | Pause, **options: Unpack[ReplyOptions]) -> Reply:
        """Answer with an event stream; see `Reply` for the arguments."""
        return self._add(Reply(*parts, **options))

    def reject(
        self, status: int, *, headers: HeaderItems | None = None, body: bytes = b"", times: int = 1
    ) -> Reply:
        """Answer with an error, *times* in a row; the body is sent as plain text."""
        check("body", body, bytes, "bytes")
        return self._add(Reply(body, status=status, headers=headers, content_type="text/plain"), times)

    def redirect(self, url: str, *, status: int = HTTPStatus.TEMPORARY_REDIRECT, times: int = 1) -> Reply:
        """Send the client to another *url*, *times* in a row; the script answers there, too."""
        return self._add(Reply(status=status, headers={"Location": url}, content_type=None), times)

    def refuse(self, *, error: Exception | None = None, times: int = 1) -> Refusal:
        """Accept no connection, *times* in a row; *error* is as in `Refusal`."""
        return self._add(Refusal(error), times)

    def stall_connect(self, *, times: int = 1) -> Refusal:
        """Let connecting last for ever, *times* in a row, or until the client's timeout strikes."""
        return self._add(Refusal(after=float("inf")), times)

    def stall_headers(self, *, times: int = 1) -> Reply:
        """Accept the connection and never answer, *times* in a row; a client may time out or be cancelled."""
        return self._add(Reply(after=float("inf")), times)

    def play(self, *steps: Step | Handler) -> None:
        """Add steps made elsewhere, or functions that look at the request and return one."""
        self._check_open()
        for step in steps:
            _check_step("steps", step)
        self._steps.extend(steps)

    def always(self, step: Step | Handler) -> None:
        """
        Answer every request beyond the other steps with *step*.

        It is one, or a function, sync or async, that looks at the request and returns one.
        """
        self._check_open()
        _check_step("step", step)
        self._fallback = step

    def expect_no_more(self) -> None:
        """Declare the script complete: nothing may be added, and a further request is an error."""
        if self._fallback is not None:
            raise ValueError("a script with always() never ends")
        self._complete = True

    # --- Using it

    def transport(self) -> ScriptTransport:
        """Return a new transport that leads here, for `httpx.AsyncClient(transport=...)`."""
        return ScriptTransport(self._answer)

    def client(self, **options: Unpack[ClientOptions]) -> httpx.AsyncClient:
        """Return a new client that leads here; *options* are passed on to `httpx.AsyncClient`."""
        return httpx.AsyncClient(transport=self.transport(), **options)

    # --- Judging what happened

    @property
    def transcript(self) -> str:
        """The conversation so far, one line per request with its answer."""
        return "\n".join(self._conversation)

    def verify(self) -> None:
        """
        Raise what a client may have swallowed.

        That is the `UnexpectedRequestError` of a request beyond the script, or whatever else a handler raised,
        assertions above all, but not httpx's errors.
        """
        __tracebackhide__ = True
        if self._failure is not None:
            raise self._failure

    def assert_exhausted(self) -> None:
        """Check that every step was played, but for `always`; `AssertionError` if some are left."""
        __tracebackhide__ = True
        _demand_none("steps that no request came for:", map(_described, self._steps))

    def closed_all(self) -> None:
        """Check that the client has closed every response; `AssertionError` if some are open."""
        __tracebackhide__ = True
        _demand_none("connections left open:", (connection.name for connection in self._open))

    # --- The inside

    def _check_open(self) -> None:
        if self._complete:
            raise ValueError("nothing can be added after expect_no_more()")

    def _add(self, step: StepT, times: int = 1) -> StepT:
        check_whole("times", times, least=1)
        self.play(*[step] * times)
        return step

    async def _answer(self, request: httpx.Request, connections: list[ScriptedConnection]) -> httpx.Response:
        __tracebackhide__ = True
        record = RecordedRequest(
            method=request.method,
            url=str(request.url),
            headers=httpx.Headers(request.headers.raw),
            content=await request.aread(),
            at=anyio.current_time(),
        )
        self.requests.append(record)
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        try:
            step = await self._step_for(record)
        except Exception as error:
            if not isinstance(error, UnexpectedRequestError):  # which tells of the request itself
                self._conversation.append(f"{record}: {shown(error)}")
            if not isinstance(error, httpx.HTTPError):
                self._failure = self._failure or error
            raise
        self._conversation.append(f"{record}: {step}")
        if isinstance(step, Refusal):
            await step.play(timeouts)
        connection = ScriptedConnection(str(record), timeouts, self._open.remove)
        self._open.append(connection)
        connections.append(connection)
        self.max_live = max(self.max_live, self.live)
        try:
            return await step.play(connection)
        except BaseException:
            connection.close()
            raise

    async def _step_for(self, record: RecordedRequest) -> Step:
        __tracebackhide__ = True
        too_many = self.max_requests is not None and len(self.requests) > self.max_requests
        step = None if too_many else self._steps.popleft() if self._steps else self._fallback
        if step is None:
            raise UnexpectedRequestError(
                record, tuple(self._conversation), self.max_requests if too_many else None
            )
        if isinstance(step, Reply | Refusal):
            return step
        answer = step(record)
        answer = await answer if inspect.isawaitable(answer) else answer
        if not isinstance(answer, Reply | Refusal):  # pyright: ignore[reportUnnecessaryIsInstance] - it may not
            raise TypeError(f"{_described(step)} must be a Reply or a Refusal, not {answer!r}")
        return answer


def _check_wait(name: str, seconds: object) -> None:
    check(name, seconds, (int, float), "a number of seconds, 0 or more", lambda given: given >= 0)


def _check_step(name: str, step: object) -> None:
    if not (isinstance(step, Reply | Refusal) or callable(step)):
        raise TypeError(f"{name} must be a Reply, a Refusal, or a function that returns one, not {step!r}")


def _described(step: Step | Handler) -> str:
    return str(step) if isinstance(step, Reply | Refusal) else f"what {step!r} says"


def _demand_none(what: str, left: Iterable[str]) -> None:
    __tracebackhide__ = True
    if lines := [*left]:
        raise AssertionError("\n    ".join((what, *lines)))
