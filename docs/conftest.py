"""
Runs every Python block of the docs and of the README, offline and in virtual time.

Each document starts in an empty directory.  A `python` block runs as it is; one that begins with a comment like
`# name.py` is written to that file first.  An `output` block is compared with what the `python` block before it
printed, and `...` stands for anything.  `anyio.run` runs on a clock that jumps to the next timer, so nobody waits
for a delay or a timeout.  `<!-- skip: next -->` before a block leaves it out.

`https://host/...` is a server in memory.  What it does depends on the path, see `ANSWERS`; the usual answer is a
short reply, four words, the last as a `done` event, with ids, so that a client that comes back resumes, and one
that has seen it all is told so by a 204.  The tutorial's server is its own code, called without a socket.  Any
other address is an error.
"""

from __future__ import annotations

import doctest
import importlib
import io
import json
import logging
import re
import sys
from contextlib import ExitStack, chdir, contextmanager, redirect_stdout
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import anyio
import httpx
import prometheus_client
import respx
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.integration.pytest import SybilItem
from sybil.parsers.myst import CodeBlockParser, SkipParser

from resilient_sse.metrics import prometheus
from resilient_sse.testing import RecordedRequest, Reply, Script, comment, event, pause, virtual_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import pytest

    from resilient_sse.testing import BackendName, Handler

DOCS = Path(__file__).parent
OUTPUT = "printed by the last block"
"""A name in a document's namespace that no block can use by accident."""

REPLY = (
    event('{"text": "Once"}', id="1", retry=100),
    event('{"text": "upon"}', id="2"),
    event('{"text": "a"}', id="3"),
    event('{"text": "time"}', id="4", event="done"),
)
"""The usual events; `retry:` keeps the wait before a reconnect short."""


def resumable(request: RecordedRequest) -> Reply:
    """Answer with what the client has not seen yet, or with 204 when that is nothing."""
    seen = request.last_event_id or ""
    missing = REPLY[int(seen) if seen in ("1", "2", "3", "4") else 0 :]
    return Reply(*missing) if missing else Reply(status=204, content_type=None)


def dropped(request: RecordedRequest) -> Reply:
    """Break the first connection after two events."""
    return resumable(request) if request.last_event_id else Reply(*REPLY[:2]).drop()


def private(request: RecordedRequest) -> Reply:
    """Accept the second token only: the first one has expired."""
    if request.headers.get("authorization") == "Bearer token-2":
        return resumable(request)
    return Reply(b"the token has expired", status=401, content_type="text/plain")


def numbered(request: RecordedRequest) -> Reply:
    """Number the events, and have lost 4 and 5 for good."""
    seen = int(request.last_event_id or 0)
    present = [number for number in (1, 2, 3, 6, 7) if number > seen]
    if not present:
        return Reply(status=204, content_type=None)
    return Reply(*(event(f"event {number}", id=str(number)) for number in present))


def chat(request: RecordedRequest) -> Reply:
    """Answer a POST as language models do: no ids, and a sentinel at the end."""
    if request.method != "POST" or "prompt" not in json.loads(request.content):
        return Reply(b"POST a prompt", status=400, content_type="text/plain")
    words = ("Once", " upon", " a", " time")
    return Reply(*(event(json.dumps({"delta": word})) for word in words), event("[DONE]")).hang()


def generated(request: RecordedRequest) -> Reply:
    """Answer a POST that makes a response, break off behind its second word, and give the rest to a GET."""
    words = ("Once", " upon", " a", " time")
    created = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}
    deltas = [
        {"type": "response.output_text.delta", "sequence_number": number, "delta": word}
        for number, word in enumerate(words, 1)
    ]
    blocks = [created, *deltas, {"type": "response.completed", "sequence_number": len(words) + 1}]
    events = [event(json.dumps(block), event=str(block["type"])) for block in blocks]
    if request.method == "POST":
        return Reply(*events[:3]).cut()
    return Reply(*events[int(httpx.URL(request.url).params["starting_after"]) + 1 :])


def changes(request: RecordedRequest) -> Reply:
    """Number by partition, and begin at the position that is asked for, as Kafka does; break the first answer."""
    titles = ("Tea", "Rain", "Owl")
    ids = [
        json.dumps([{"topic": "eqiad.change", "partition": 0, "timestamp": 1000 + number}])
        for number in range(len(titles))
    ]
    events = [
        event(json.dumps({"title": title, "meta": {"id": number}}), id=name)
        for number, (title, name) in enumerate(zip(titles, ids, strict=True))
    ]
    if request.last_event_id is None:
        return Reply(*events[:2]).drop()
    (asked,) = json.loads(request.last_event_id)
    return Reply(*events[asked["timestamp"] - 1000 :]).hang()


def hub(request: RecordedRequest) -> Reply:
    """Answer as a Mercure hub: the first time nothing comes, the last time its history does not reach back."""
    ids = ["urn:uuid:1", "urn:uuid:2", "urn:uuid:3", "urn:uuid:8"]
    asked = httpx.URL(request.url).params.get("last_event_id", ids[0])
    names = {"Mercure-Last-Event-ID": asked if asked != "urn:uuid:3" else "urn:uuid:7"}
    if request.last_event_id is None:
        return Reply(headers=names).drop()
    events = [event(f"book {name[-1]}", id=name) for name in ids[ids.index(asked) + 1 :]]
    return (
        Reply(*events[:2], headers=names).drop() if len(events) > 1 else Reply(*events, headers=names).hang()
    )


def watch() -> Handler:
    """Tell of changes while somebody listens; what happens in between nobody hears of."""
    answers = iter((Reply(event("red")).drop(), Reply(event("blue")).hang()))
    return lambda _: next(answers)


def quiet(request: RecordedRequest) -> Reply:
    """Fall silent for 28 seconds after the first event, and for good after the second."""
    return resumable(request) if request.last_event_id else Reply(REPLY[0], pause(28), REPLY[1]).hang()


def typed(_request: RecordedRequest) -> Reply:
    """Mix types, heartbeats and comments."""
    return Reply(
        event("101.5", event="price", id="1"),
        comment("still here"),
        event("{}", event="heartbeat"),
        event("closing soon", event="notice", id="2"),
        event("101.7", event="price", id="3"),
        event("", event="end", id="4"),
    )


def busy() -> Handler:
    """Ask for three seconds of patience once."""
    requests = count()

    def answer(request: RecordedRequest) -> Reply:
        if next(requests) == 0:
            return Reply(b"deploying", status=503, content_type="text/plain", headers={"Retry-After": "3"})
        return resumable(request)

    return answer


ANSWERS: Mapping[str, Callable[[], Handler]] = {
    "/busy": busy,
    "/chat": lambda: chat,
    "/down": lambda: lambda _: Reply(b"down for repair", status=503, content_type="text/plain"),
    "/dropped": lambda: dropped,
    "/large": lambda: lambda _: Reply(event("x" * 100_000, id="1")),
    "/missing": lambda: lambda _: Reply(b"no such stream", status=404, content_type="text/plain"),
    "/numbered": lambda: numbered,
    "/v1/responses": lambda: generated,
    "/v1/responses/resp_1": lambda: generated,
    "/v2/stream/recentchange": lambda: changes,
    "/.well-known/mercure": lambda: hub,
    "/flags": watch,
    "/private": lambda: private,
    "/quiet": lambda: quiet,
    "/typed": lambda: typed,
}
"""A fresh handler for each path with a behaviour of its own."""


def server() -> Callable[[httpx.Request], Any]:
    """Make the server of one document."""
    handlers = {path: make() for path, make in ANSWERS.items()}
    script = Script()
    script.always(lambda request: handlers.get(httpx.URL(request.url).path, resumable)(request))
    return script.transport().handle_async_request


REAL_RUN = anyio.run


def run_in_virtual_time(
    func: Callable[..., Any],
    *args: Any,  # noqa: ANN401 - as anyio.run
    backend: BackendName = "asyncio",
    backend_options: dict[str, Any] | None = None,
) -> Any:  # noqa: ANN401 - as anyio.run
    """Stand in for `anyio.run`."""
    name, options = virtual_backend(backend)
    return REAL_RUN(func, *args, backend=name, backend_options=backend_options or options)


async def tutorial(request: httpx.Request) -> httpx.Response:
    """Have the application answer that the tutorial's own block has written to `server.py`."""
    app = importlib.import_module("server").app
    return await httpx.ASGITransport(app).handle_async_request(request)


def set_up(namespace: dict[str, Any]) -> None:
    """Give one document its directory, its clock and its server, and let its `__main__` guards run."""
    stack = namespace["_stack"] = ExitStack()
    directory = stack.enter_context(TemporaryDirectory())
    stack.enter_context(chdir(directory))
    stack.enter_context(patch.object(sys, "path", [directory, *sys.path]))
    stack.callback(forget_modules, directory)
    stack.enter_context(patch.object(anyio, "run", run_in_virtual_time))
    router = stack.enter_context(respx.mock(assert_all_called=False))
    router.route(host="host").mock(side_effect=server())
    router.route(host="127.0.0.1", port=8000).mock(side_effect=tutorial)
    registry = prometheus_client.CollectorRegistry()  # each page counts from nothing
    stack.enter_context(patch.object(prometheus_client, "REGISTRY", registry))
    stack.enter_context(patch.object(prometheus, "REGISTRY", registry))
    namespace["__name__"] = "__main__"


def forget_modules(directory: str) -> None:
    """Let the next document import a file of the same name."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(directory):
            del sys.modules[name]


def tear_down(namespace: dict[str, Any]) -> None:
    """Put everything back."""
    namespace["_stack"].close()


@contextmanager
def unconfigured_logging() -> Generator[None]:
    """Show a block the logging of a fresh program, and put back what it changes."""
    loggers = [logging.getLogger(name) for name in ("", "httpx", "resilient_sse")]
    kept = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    loggers[0].handlers.clear()
    try:
        yield
    finally:
        for logger, level, handlers in kept:
            logger.setLevel(level)
            logger.handlers[:] = handlers


def run(example: Example) -> None:
    """Run a block and keep what it prints; if it begins with the name of a file, others may import it."""
    if named := FILE_NAME.match(example.parsed):
        Path(named[1]).write_text(example.parsed, encoding="utf-8")
    printed = io.StringIO()
    with redirect_stdout(printed), unconfigured_logging():
        PythonEvaluator()(example)
    example.namespace[OUTPUT] = printed.getvalue()


FILE_NAME = re.compile(r"# (\w+\.py)\n")
TRAILING_SPACES = re.compile(r" +$", re.MULTILINE)


def compare(example: Example) -> str | None:
    """Hold an `output` block against what was printed."""
    got = TRAILING_SPACES.sub("", example.namespace.get(OUTPUT, "")).strip("\n") + "\n"
    if doctest.OutputChecker().check_output(example.parsed, got, doctest.ELLIPSIS):
        return None
    return f"the page says:\n{example.parsed}\nthe block printed:\n{got}"


def examples(directory: Path, pattern: str) -> Sybil:
    """Find the blocks of the files below *directory* that match *pattern*."""
    return Sybil(
        parsers=[CodeBlockParser("python", run), CodeBlockParser("output", compare), SkipParser()],
        path=str(directory),
        pattern=pattern,
        excludes=["_build/**", "simulation/README.md"],
        setup=set_up,
        teardown=tear_down,
    )


def traceback_of(item: SybilItem, excinfo: pytest.ExceptionInfo[BaseException]) -> object:
    """Show a traceback from the example on; Sybil fails over causes and warnings that no example is part of."""
    try:
        return cut_traceback(item, excinfo)
    except IndexError:
        return excinfo.traceback


cut_traceback = SybilItem._traceback_filter  # noqa: SLF001 - see `traceback_of`
SybilItem._traceback_filter = traceback_of  # noqa: SLF001


class Readme:
    """A plugin of its own, since the hooks of this file see only what lies below `docs/`."""

    pytest_collect_file = staticmethod(examples(DOCS.parent, "README.md").pytest())


pytest_collect_file = examples(DOCS, "*.md").pytest()


def pytest_configure(config: pytest.Config) -> None:
    """Have the examples of the README collected as well."""
    config.pluginmanager.register(Readme())
