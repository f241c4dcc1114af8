"""What an operator reads: when it is loud, how often, and in which words."""

import errno
import logging
import socket
import ssl

import anyio
import httpx
import pytest

from resilient_sse import (
    Backoff,
    BadStatusError,
    Disconnected,
    NotResumableError,
    RetriesExhaustedError,
    StreamState,
    integers,
)
from resilient_sse.testing import Refusal, Reply, event, pause
from tests.client.support import drain, gives_up, hanging, make, numbered, one_loop, read, take


def warnings_in(caplog):
    """Return the warnings, each as its time and its words."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@one_loop
async def test_an_outage_behind_a_clean_end_is_loud(script, caplog):
    """A deploy, then down for an hour: a WARNING at the first failed attempt, then each 5 minutes (P54)."""
    caplog.set_level(logging.DEBUG, "resilient_sse")
    script.play(Reply(*numbered(1)), *[Refusal()] * 120, hanging(2))
    await read(script, 2, max_retries=None, backoff=Backoff(30, maximum=30, jitter=0))
    told = [(record.levelno, record.sse_reason) for record in caplog.records]
    assert told[1:3] == [(logging.INFO, "eof"), (logging.WARNING, "connect")]
    assert len(warnings_in(caplog)) == 12
    assert "9 more like it since the last warning" in warnings_in(caplog)[-1]


@one_loop
async def test_a_loop_of_resets_does_not_fill_the_log(script, caplog):
    """Each connection brings an event and breaks, for an hour; so do gaps: at most 13 warnings of each (P54)."""
    numbers = iter(range(1, 10_000, 2))

    def answer(_request):
        return Reply(pause(20), *numbered(next(numbers))).drop()

    script.always(answer)
    await read(script, 190, sequence=integers, max_retries=None)
    told = warnings_in(caplog)
    assert script.requests[-1].at > 3600
    assert len([text for text in told if "(reset" in text]) <= 13
    assert len([text for text in told if "gap" in text]) <= 13
    assert len(told) > 12


def behind(error, cause):
    """Raise *error* with a cause, as httpx does."""
    error.__cause__ = cause
    return error


def of_tls(kind, **facts):
    """Make an error as the module `ssl` raises it."""
    error = kind(1, "words")
    for name, value in facts.items():
        setattr(error, name, value)
    return error


NOT_TRUSTED = of_tls(ssl.SSLCertVerificationError, verify_message="certificate has expired")
CAUSES = [
    (OSError(errno.ECONNREFUSED, "words"), "connection refused"),
    (OSError(errno.ENETUNREACH, "words"), "the network cannot be reached"),
    (OSError(errno.EPERM, "words"), "a firewall perhaps"),
    (OSError(errno.EMFILE, "words"), "too many open files"),
    (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1')"), "connection refused"),
    (ExceptionGroup("", [ConnectionRefusedError(errno.ECONNREFUSED, "x")]), "connection refused"),
    (socket.gaierror(socket.EAI_NONAME, "x"), "no such host"),
    (socket.gaierror(socket.EAI_AGAIN, "x"), "cannot be looked up now"),
    (NOT_TRUSTED, "the certificate is not trusted: certificate has expired"),
    (of_tls(ssl.SSLError, reason="WRONG_VERSION_NUMBER"), "no TLS there"),
]
COOKIE = "illegal header line: bytearray(b'Set-Cookie: secret=1\\x00')"
PROTOCOL = [
    ("illegal status line: bytearray(b'\\x15\\x03')", "no HTTP there"),
    ("Server disconnected without sending a response.", "closed without an answer"),
    (COOKIE, "(protocol, bad HTTP: illegal header line)"),
    ("malformed chunk footer: b'da'", "(protocol, bad HTTP: malformed chunk footer)"),
    ("<StreamReset stream_id:1, error_code:2>", "has reset the HTTP/2 stream"),
]
IN_WORDS = [
    *((behind(httpx.ConnectError("All attempts failed"), cause), words) for cause, words in CAUSES),
    (httpx.ConnectError("Multiple exceptions: [Errno 111] Connect call failed"), "ConnectError"),
    # TLS 1.3 refuses behind the handshake, where httpcore does not catch it.
    (of_tls(ssl.SSLError, reason="TLSV13_ALERT_CERTIFICATE_REQUIRED"), "(connect, TLS failed: "),
    (httpx.ConnectTimeout("no connection in 10 s"), "no connection in 10 s"),
    *((httpx.RemoteProtocolError(text), words) for text, words in PROTOCOL),
]


async def test_causes_are_told_in_words(script, caplog, record):
    """Neither the class of an exception nor its text is what an operator acts on (P54)."""
    for error, _ in IN_WORDS:
        script.refuse(error=error)
    script.stall_headers()
    for text in ("<ConnectionTerminated error_code:0>", "Server disconnected"):  # of HTTP/2
        script.respond(*numbered(1)).drop(httpx.RemoteProtocolError(text))
    script.reject(501)
    caplog.set_level(logging.DEBUG, "resilient_sse")
    await gives_up(make(script, max_retries=None, on_state_change=record), BadStatusError)
    texts = [entry.getMessage() for entry in caplog.records if "-> waiting" not in entry.getMessage()]
    expected = [*(words for _, words in IN_WORDS), "no response headers after 50.0 s"]
    for text, words in zip(texts, expected, strict=False):
        assert words in text
    assert "(reset, the server has closed the HTTP/2 connection (GOAWAY))" in texts[-4]
    assert "(reset, the server has closed the HTTP/2 connection)" in texts[-2]
    assert "(server 501)" in texts[-1]


async def test_nothing_was_caught_when_the_program_restarts(script, record):
    """`restart()` and a reconnect that heals are no errors, and carry none (P54)."""
    script.play(hanging(1), hanging(3), hanging(2, 3))
    async with make(script, sequence=integers, on_state_change=record) as stream:
        seen = stream.activity()
        await anext(seen)
        await anext(seen)
        stream.restart()
        lost = [item for item in await take(seen, 6) if isinstance(item, Disconnected)]
    changes = [change for change in record.changes if change.new is StreamState.RECONNECTING]
    assert (
        [item.reason.value for item in lost] == [item.reason.value for item in changes] == ["restart", "gap"]
    )
    assert [item.error for item in (*lost, *changes)] == [None] * 4


ENDS = [
    (
        [event("whole"), b"event: done\ndata: [DONE]\n"],
        {"until": "done"},
        "thrown away: the last event needs a blank line",
    ),
    ([b"data: half"], {"on_eof": "complete"}, 'with on_eof="complete" the stream ends here all the same'),
    (
        [b'{"error": {"message": "s3cret"}}'],
        {},
        "the 32 bytes of the answer are no event stream, they look like JSON",
    ),
    (
        [b'{"error":\n', b' "s3cret"}\n'],
        {"flight_recorder": 5},
        "they look like JSON; the error that ends the stream tells of it",
    ),
    ([b"<html>\n"], {}, "they look like a page"),
    (
        [event("a", id="1")],
        {"method": "POST"},
        "no until= has matched, so it is a drop; if its answers end so, pass on_eof=",
    ),
]


@pytest.mark.parametrize("parts, options, words", ENDS, ids=range(len(ENDS)))
@one_loop
async def test_an_odd_end_is_told(script, caplog, parts, options, words):
    """What came, and which argument to use: once, however often it comes (issue 11, kind 11)."""
    script.always(Reply(*parts))
    stream = make(script, max_retries=2, **options)
    raised = []
    with anyio.move_on_after(20):
        try:
            await drain(stream)
        except RetriesExhaustedError as error:
            raised.append(error)
    await stream.aclose()
    told = [text for text in warnings_in(caplog) if words in text and " -> " not in text]
    assert len(told) == 1
    assert "s3cret" not in caplog.text
    for error in raised:
        assert "they look like" in str(error)
        assert ("bytes that look like JSON" in " ".join(error.wire)) is bool(options)


async def test_a_post_that_ends_says_how_to_end_it(script):
    """Tokens came and no id: it cannot be asked again, and the error says what the caller perhaps meant."""
    script.respond(event("a"))
    error = await gives_up(make(script, method="POST"), NotResumableError)
    assert 'pass on_eof="complete", or until=' in str(error)


FAILED, FAILING = "Failed to connect. Please refresh.", "Connection keeps failing. Please refresh."


@pytest.mark.parametrize(
    "step, text, why",
    [
        (Reply(), FAILING, "eof (the server has sent nothing)"),
        (Reply(event("x", id="1")).drop(), FAILING, "reset"),
        (Reply(status=503), FAILED, "503"),
        (Refusal(), FAILED, "connect"),
    ],
    ids=str,
)
@one_loop
async def test_no_backend_is_told_to_refresh(script, caplog, step, text, why, record):  # noqa: PLR0917 - columns
    """What is logged or raised is for a program and its operators; only `message` is for people (kind 14)."""
    caplog.set_level(logging.DEBUG, "resilient_sse")
    script.always(step)
    error = await gives_up(make(script, on_state_change=record, dedup="always"), RetriesExhaustedError)
    assert record.messages[-1] == text
    assert why in str(error)
    assert "refresh" not in f"{error} {error.__cause__} {caplog.text}".lower()
    assert round(record.changes[-1].at) == 17
