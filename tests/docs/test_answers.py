"""The page of requests and answers: each row of its tables is played against a stream, in virtual time."""

import builtins
import email.message
import errno
import re
import socket
import urllib.error
from types import SimpleNamespace

import httpx
import pytest

import resilient_sse
from resilient_sse import BadStatusError, StreamState, Verdict
from resilient_sse._core.outage import default_verdict
from resilient_sse.testing import Reply, Script, event, gzipped
from tests.client.support import URL, Record, drain, make
from tests.docs.pages import tables, text_of

PAGE = text_of("reference/requests-and-answers.md")
BEFORE, AFTER = "before the stream has worked", "once it has"


def rows(*header):
    """Return the rows of every table of the page whose header begins so."""
    return [row for found in tables(PAGE) if found[0][: len(header)] == list(header) for row in found[1:]]


STATUSES = rows("status")


def stands_for(cell):
    """Return the statuses that a cell names: `500 to 599, but 501` and the like."""
    named, _, but = cell.partition(", but ")
    found = set()
    for part in named.split(", "):
        if match := re.fullmatch(r"(\d+) to (\d+)", part):
            found |= set(range(int(match[1]), int(match[2]) + 1))
        elif part.isdigit():
            found.add(int(part))
    return found - {int(number) for number in re.findall(r"\d+", but)}


EXPECTED = {status: row[1:] for row in STATUSES for status in stands_for(row[0])}


def test_every_status():
    """What the page says of a status is what happens, for all from 100 to 599, before and after (P46, P5, P19)."""
    for status in set(range(100, 600)) - {200, 201}:
        for proven, words in zip((False, True), EXPECTED.get(status, STATUSES[-1][1:]), strict=True):
            if words == "the redirect is followed":
                continue
            error = BadStatusError(status=status, headers={})
            expected = {
                "the stream is complete": [Verdict.STOP] * 2,
                "retried": [Verdict.RETRY] * 2,
                "`BadStatusError`": [Verdict.RAISE] * 2,
                "retried once more in a row if `headers` is a function or `auth` is given": [
                    Verdict.RAISE,
                    Verdict.RETRY,
                ],
            }[words]
            assert [
                default_verdict(error, proven=proven, fresh_credentials=fresh) for fresh in (False, True)
            ] == expected, (status, proven)


def headers_in(cell):
    """Return the header that a cell shows as code: its value, or `Name: value`."""
    return re.sub(r"`+(.*?)`+", r"\1", cell).strip()


def situations():
    """Yield each row as a name, the step of the script that plays it, and what the page says follows."""
    for cell, *follows in STATUSES:
        if found := sorted(stands_for(cell) - {200, 201}):
            for status in {found[0], found[len(found) // 2], found[-1]}:
                headers = {"Location": "https://host/elsewhere"} if 300 < status < 309 else None
                yield f"{status}", Reply(status=status, headers=headers, content_type=None), follows
        elif "`Retry-After`" in cell:
            for status in (400, 403, 413, 499):
                yield f"{cell}: {status}", Reply(status=status, headers={"Retry-After": "1"}), follows
    for cell, *follows in rows("`Content-Type`"):
        kind = None if cell == "none" else headers_in(cell)
        for status in (200, 201):
            answer = Reply(event("a", event="end"), status=status, content_type=kind)
            yield f"{status} {cell}", answer, follows
    for cell, *follows in rows("`Content-Encoding`"):
        for value in headers_in(cell).split(" or "):
            body = [event("a", event="end")]
            parts = gzipped(*body) if "gzip" in value else body
            yield f"Content-Encoding: {value}", Reply(*parts, headers={"Content-Encoding": value}), follows


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("nth", [0, 1], ids=["before", "after"])
async def test_every_row(nth):
    """Each row of the tables of answers happens to a stream as the page says (P46, P47)."""
    for name, step, follows in situations():
        words, script = follows[nth], Script()
        if nth:
            script.respond(event("first", id="1")).drop()
        script.play(step)
        script.respond(event("next", id="2", event="end"))
        happened = "the stream is complete"
        try:
            await drain(make(script, until="end"))
        except resilient_sse.ResilientSSEError as exc:
            happened = type(exc).__name__
        answers = len(script.requests) - nth
        expected = {
            "the stream is open": ("the stream is complete", 1),
            "the stream is complete": ("the stream is complete", 1),
            "retried": ("the stream is complete", 2),
            "the redirect is followed": ("the stream is complete", 2),
            "retried once more in a row if `headers` is a function or `auth` is given": ("BadStatusError", 1),
        }.get(words) or (headers_in(words), 1)
        assert (happened, answers) == expected, name


def errors_with(status):
    """Return the errors for a status as HTTP libraries raise them: httpx, urllib, requests and aiohttp."""
    request, response = httpx.Request("GET", URL), httpx.Response(status)
    of_requests, of_aiohttp = OSError(), RuntimeError()  # aiohttp's is no OSError
    of_requests.response, of_aiohttp.status = SimpleNamespace(status_code=status), status
    return [
        httpx.HTTPStatusError("", request=request, response=response),
        urllib.error.HTTPError(URL, status, "", email.message.Message(), None),
        of_requests,
        of_aiohttp,
    ]


RAISED = {
    "`OSError` of a socket": [
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        socket.gaierror(-3, "no"),
    ],
    "`OSError` of a file": [OSError(errno.EIO, "Input/output error", "/run/token")],
    "an HTTP library's error with status 503": errors_with(503),
    "an HTTP library's error with status 401": errors_with(401),
}
KINDS = {"httpx": httpx, "": builtins}


def errors_of(cell):
    """Return the exceptions that a row means."""
    if cell in RAISED:
        return RAISED[cell]
    module, _, name = headers_in(cell).rpartition(".")
    return [getattr(KINDS[module], name)("words")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("nth", [0, 1], ids=["before", "after"])
@pytest.mark.parametrize("function", ["headers", "params", "content", "auth"])
async def test_errors_of_the_callers_functions(function, nth, caplog):
    """Each row of that table: retried, or raised as it is, with state, callback and log to match (P52)."""
    for cell, *follows in rows("raised"):
        for error in errors_of(cell):
            if function == "auth" and isinstance(error, (httpx.HTTPStatusError, httpx.UnsupportedProtocol)):
                continue  # may come from a hook that judges the stream's own answer, or from its redirect
            calls = iter(range(5))

            def fails(*request, calls=calls, error=error):
                if next(calls) == nth:
                    raise error
                return request[0] if request else {} if function != "content" else b""

            async def fails_later(fails=fails):
                return fails()

            script, record = Script(), Record()
            if nth:
                script.respond(event("first", id="1")).drop()
            script.respond(event("next", id="2", event="end"))
            given = fails if function == "auth" else fails_later
            stream = make(script, until="end", on_state_change=record, max_retries=None, **{function: given})
            caplog.clear()
            try:
                await drain(stream)
            except Exception as exc:  # noqa: BLE001 - compared
                raised = exc
            else:
                raised = None
            where = (cell, error)
            if follows[nth] == "retried":
                assert (raised, stream.state) == (None, StreamState.CLOSED), where
                assert StreamState.RECONNECTING in {change.new for change in record.changes}, where
                continue
            if follows[nth] == "itself":
                assert raised is error, where
            else:
                assert (type(raised).__name__, raised.__cause__) == (headers_in(follows[nth]), error), where
            assert stream.state is record.changes[-1].new is StreamState.ERROR, where
            assert caplog.records[-1].levelname == "ERROR", where
            assert [item.data for item in await drain(stream)] == ["next"], where
