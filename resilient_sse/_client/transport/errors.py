"""What httpx and httpx2 raise, in our words: the one place where their exceptions are translated."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import NoReturn, cast

import anyio
import httpx

from resilient_sse._core.errors import (
    BadStatusError,
    ConnectionLostError,
    HandshakeError,
    ResilientSSEError,
)
from resilient_sse._core.outage import is_for_a_moment
from resilient_sse._core.states import Reason

AFTER_REDIRECT = "after a redirect to"
OVER_PROXY = "over the proxy"
"""How notes begin that the exchange adds to an exception."""

# h11's words for a body that ends before its announced end: a cut connection, not a confused server.
_CUT_SHORT = "peer closed connection"

# httpcore's for a server that hangs up: HTTP/1.1 before a whole answer, or before the request is written; HTTP/2
# one stream, or all of the connection, with a word and without.
_NO_ANSWER = "without sending a response"
_HANGS_UP = ("<StreamReset", "<ConnectionTerminated", "Server disconnected")

# What is wrong with the program, and stays so.
_PROGRAMS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL)

# httpcore's for an answer to CONNECT: "407 Proxy Authentication Required".
_PROXY_REFUSES = re.compile(r"4(?!08|25|29)\d\d\b")

_NO_TLS = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "UNKNOWN_PROTOCOL",
}

_BY_NUMBER = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "reset by the server",
    errno.EPIPE: "reset by the server",
    errno.ECONNABORTED: "the connection was aborted",
    errno.ETIMEDOUT: "nobody answers there (timed out)",
    errno.ENETUNREACH: "the network cannot be reached",
    errno.EHOSTUNREACH: "no route to the host",
    errno.EACCES: "not permitted here, by a firewall perhaps",
    errno.EPERM: "not permitted here, by a firewall perhaps",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.EADDRNOTAVAIL: "no free port on this machine",
}

_BY_TEXT = {
    "illegal status line": "no HTTP there: the port speaks something else, such as TLS",
    "without close_notify": "the answer may be cut short: TLS was not ended (no close_notify)",
    "_SWITCH_UPGRADE": "the server switches to another protocol (status 101)",
    _CUT_SHORT: "closed in the middle of the answer",
    _NO_ANSWER: "closed without an answer",
    _HANGS_UP[0]: "the server has reset the HTTP/2 stream",
    _HANGS_UP[1]: "the server has closed the HTTP/2 connection (GOAWAY)",
    _HANGS_UP[2]: "the server has closed the HTTP/2 connection",
}

# httpx's for a redirect whose target is no URL; it takes it apart even where it is not to follow.
_NO_TARGET = ("Invalid URL in location header", "For absolute URLs, path must be empty or begin with '/'")

# What h11 and our own decoder quote of headers and data, which may hold a secret; the cause still has it.
_QUOTED = re.compile(r":? (?:b|bytearray\(b)['\"].*", re.DOTALL)


def raise_translated(exc: Exception, *, opened: bool) -> NoReturn:
    """Raise what `translated` returns, with *exc* as its cause."""
    failure = translated(exc, opened=opened)
    if opened:
        _part_from_frames(exc.__cause__)
    try:
        if failure is exc:
            raise exc
        raise failure from exc
    finally:
        # An error refers to this frame; if the frame referred back, a dropped stream would wait for the collector.
        del failure, exc


def _part_from_frames(exc: BaseException | None) -> None:
    """Take the frames from errors of httpcore and anyio, with which they make circles; httpx's keep theirs."""
    while exc is not None and type(exc).__module__.startswith(("httpcore", "anyio")):
        exc.__traceback__ = None
        exc = exc.__cause__ or exc.__context__


def of_callers(exc: Exception) -> Exception:
    """
    Return what an exception out of a function of the caller's means: a failed attempt, or itself.

    A token endpoint that is down is a failure of the network, with whatever library it was asked.
    """
    status = _status_of(exc)
    if status is not None:
        passes = is_for_a_moment(BadStatusError(status=status, headers={}))
    elif isinstance(exc, OSError):
        passes = not _is_about_files(exc)
    else:
        transport_errors = {kind.__name__ for kind in type(exc).__mro__} & {
            "TransportError",
            "ConnectionError",
        }
        passes = bool(transport_errors) and not isinstance(_of_httpx(exc), _PROGRAMS)
    if not passes:
        return exc
    # Its text may hold what a log must not.
    words = _first(map(_known, _behind(exc))) or type(exc).__name__
    return ConnectionLostError(Reason.CONNECT, f"a function given to the stream: {words}")


def _status_of(exc: Exception) -> int | None:
    """Return the status that an HTTP library's exception tells of: httpx, requests, aiohttp or urllib."""
    response = getattr(exc, "response", None)
    told = (getattr(response, "status_code", None), getattr(exc, "status", None), getattr(exc, "code", None))
    return next((status for status in told if isinstance(status, int) and 100 <= status < 600), None)  # noqa: PLR2004


def _is_about_files(exc: OSError) -> bool:
    kinds = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
    return isinstance(exc, kinds) or exc.filename is not None


def translated(exc: Exception, *, opened: bool) -> Exception:
    """
    Return the error of ours that *exc* means, or *exc* itself where it is none of httpx's business.

    Args:
        exc: What was caught.
        opened: Whether the response had been accepted.
    """
    known = _of_httpx(exc)
    match known:
        case ResilientSSEError():
            return exc
        case OSError() if not (opened or isinstance(known, ssl.SSLError)):
            # Out of authentication or hooks: of sockets the transports tell in httpx's words, but for late TLS.
            return of_callers(exc)
        case httpx.RemoteProtocolError() if _NO_ANSWER in str(exc) or str(exc).startswith(_HANGS_UP):
            return ConnectionLostError(Reason.RESET if opened else Reason.CONNECT, _words(exc))
        case _ if any(map(_is_of_h2, _behind(exc))):
            # It cannot read what came: httpcore takes that for a fault of the request, or hands it on as it is.
            return ConnectionLostError(Reason.PROTOCOL, _words(exc))
        case httpx.ProxyError() if _PROXY_REFUSES.match(str(exc)):
            return HandshakeError(
                f"{_noted(exc, OVER_PROXY) or 'the proxy'} refuses the request: {exc}".removeprefix("over ")
            )
        case httpx.RemoteProtocolError() | httpx.InvalidURL() if str(exc).startswith(_NO_TARGET):
            return HandshakeError("the server's redirect has no usable Location")
        case _ if isinstance(known, (*_PROGRAMS, UnicodeError, OverflowError)):
            # Our own request breaks a rule; it would break it again at every attempt.
            return HandshakeError(f"the request cannot be sent: {_words(exc)}")
        case httpx.PoolTimeout():
            return ConnectionLostError(
                Reason.CONNECT,
                "no free connection in the client's pool: every stream holds one, so raise "
                "max_connections in httpx.Limits above the number of streams",
            )
        case httpx.RemoteProtocolError() | httpx.DecodingError():
            cut = opened and _CUT_SHORT in str(exc)
            return ConnectionLostError(Reason.RESET if cut else Reason.PROTOCOL, _words(exc))
        case httpx.HTTPStatusError():
            # An event hook of the caller's client may call raise_for_status().
            return BadStatusError(
                status=known.response.status_code, headers=dict(known.response.headers.items())
            )
        case httpx.TooManyRedirects():
            return HandshakeError(_words(exc))
        case (
            httpx.TransportError()
            | OSError()
            | ExceptionGroup()  # of several addresses tried
            | anyio.BrokenResourceError()
            | anyio.ClosedResourceError()
        ):
            return ConnectionLostError(Reason.RESET if opened else Reason.CONNECT, _words(exc))
        case _:
            return exc if opened else of_callers(exc)


def _is_of_h2(exc: BaseException) -> bool:
    return type(exc).__module__.startswith("h2.")


def _of_httpx(exc: Exception) -> Exception:
    """Return httpx's exception for one of httpx2, whose classes have the same names and nothing else in common."""
    for kind in type(exc).__mro__:
        twin: type[Exception] | None = (
            getattr(httpx, kind.__name__, None) if kind.__module__ == "httpx2" else None
        )
        if twin is not None:
            known = twin.__new__(twin, *exc.args)
            known.__dict__.update(exc.__dict__)
            return known
    return exc


def _words(exc: BaseException) -> str:
    """
    Say what happened as an operator would; where nothing is known of it, by the class and its text.

    The texts of network errors are often empty, and what happened lies behind them.
    """
    found = _first(map(_known, _behind(exc)))
    if not found:
        name, text = type(exc).__name__, _first(map(str, _behind(exc)))
        found = f"{name}: {_QUOTED.sub('', text)}" if text else name
    proxy = _noted(exc, OVER_PROXY)
    return " ".join(filter(None, (proxy and f"{proxy}:", found, _noted(exc, AFTER_REDIRECT))))


def _noted(exc: BaseException, beginning: str) -> str:
    notes: list[str] = getattr(exc, "__notes__", [])
    return next((note for note in notes if note.startswith(beginning)), "")


def _first(texts: Iterable[str]) -> str:
    return next((text for text in texts if text), "")


def _behind(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what lies behind it: the members of a group, and its causes."""
    while exc is not None:
        yield exc
        if isinstance(exc, BaseExceptionGroup):
            for member in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
                yield from _behind(member)
        exc = exc.__cause__ or exc.__context__


def _known(raised: BaseException) -> str:
    exc = _of_httpx(raised) if isinstance(raised, Exception) else raised
    text = str(exc)
    match exc:
        case _ if _is_of_h2(exc):
            return f"bad HTTP: {_QUOTED.sub('', text)}"
        case ssl.SSLCertVerificationError():
            return f"the certificate is not trusted: {exc.verify_message}"
        case ssl.SSLEOFError() | ssl.SSLError(reason="UNEXPECTED_EOF_WHILE_READING"):  # before Python 3.11.3
            return "closed in the TLS handshake"
        case ssl.SSLError() if exc.reason in _NO_TLS:
            return "no TLS there: the port speaks something else, such as plain HTTP"
        case ssl.SSLError():
            return f"TLS failed: {exc.reason or text}"
        case socket.gaierror():
            return "the name cannot be looked up now" if exc.errno == socket.EAI_AGAIN else "no such host"
        case OSError():
            # asyncio's for several addresses tried in vain has numbers in its text only.
            number = exc.errno or next(map(int, re.findall(r"\[Errno (\d+)\]", text)), 0)
            return _BY_NUMBER.get(number, "")
        case anyio.BrokenResourceError() if not (exc.__cause__ or exc.__context__):
            return "reset by the server"  # in a send, behind which TLS of anyio reads no more
        case httpx.ConnectTimeout():
            return text or "no connection in time (connect_timeout)"
        case httpx.ProxyError():
            return text
        case httpx.TransportError():
            bad = isinstance(exc, httpx.RemoteProtocolError)
            unknown = f"bad HTTP: {_QUOTED.sub('', text)}" if bad and text else ""
            return next((words for said, words in _BY_TEXT.items() if said in text), unknown)
        case _:
            return ""
