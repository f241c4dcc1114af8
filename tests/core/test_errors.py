from __future__ import annotations

import copy
import pickle

import pytest

from resilient_sse._core import errors
from resilient_sse._core.errors import (
    BadContentTypeError,
    BadStatusError,
    CheckpointError,
    ConnectionLostError,
    DecodeError,
    HandshakeError,
    LimitExceededError,
    NotResumableError,
    ResilientSSEError,
    RetriesExhaustedError,
    StreamError,
)
from resilient_sse._core.events import ServerSentEvent
from resilient_sse._core.states import Reason

OVERLOADED = ServerSentEvent(event="error", data="overloaded")

NAMES = {name for name, value in vars(errors).items() if name.endswith("Error") and isinstance(value, type)}

SAMPLES = [
    ResilientSSEError("something"),
    DecodeError(OVERLOADED, ValueError("secret")),
    HandshakeError("no answer"),
    HandshakeError("odd", status=302, headers={"location": "/x"}, body_excerpt="moved"),
    BadStatusError(status=503, headers={"retry-after": "3"}, body_excerpt="busy"),
    BadContentTypeError("text/html", status=200, headers={"content-type": "text/html"}, body_excerpt="<p>"),
    ConnectionLostError(Reason.RESET, "by peer"),
    StreamError(OVERLOADED),
    LimitExceededError(1024),
    RetriesExhaustedError(attempts=6, elapsed=17.25),
    NotResumableError("the body is spent"),
    CheckpointError("locked", key="orders"),
]


def pickled(error: Exception) -> Exception:
    """Send *error* to another process and back."""
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own


@pytest.mark.parametrize("error", SAMPLES, ids=repr)
@pytest.mark.parametrize("duplicate", [pickled, copy.copy], ids=["pickle", "copy"])
def test_errors_survive_pickling(error, duplicate):
    """A worker can send any error home: its class, text and facts arrive."""
    twin = duplicate(error)
    assert (type(twin), str(twin), twin.args) == (type(error), str(error), error.args)
    assert repr(vars(twin)) == repr(vars(error))


def test_every_error_is_tried_above():
    """A new class of error has to be added to the samples."""
    tried = {type(sample).__name__ for sample in SAMPLES}
    assert tried == NAMES


HTML, NONE = (BadContentTypeError(kind, status=200, headers={}) for kind in ("text/html", ""))
TEXTS = {
    "the server answered with status 418 instead of": BadStatusError(status=418, headers={}),
    "expected text/event-stream, the server sent 'text/html'": HTML,
    "expected text/event-stream, the server sent no Content-Type": NONE,
    "connection lost: eof": ConnectionLostError(Reason.EOF),
    "connection lost: stall (nothing for 30.0 s)": ConnectionLostError(Reason.STALL, "nothing for 30.0 s"),
    "gave up after 1 failed attempt in 0.0 s": RetriesExhaustedError(attempts=1, elapsed=0),
    "gave up after 6 failed attempts in 17.0 s": RetriesExhaustedError(attempts=6, elapsed=17.04),
    "4096 bytes": LimitExceededError(4096),
    "max_event_bytes": LimitExceededError(4096),
}


@pytest.mark.parametrize("text, error", TEXTS.items(), ids=range(len(TEXTS)))
def test_texts(text, error):
    """Errors build their own text from their facts, and say what to do."""
    assert text in str(error)


def test_a_long_content_type_is_cut():
    """A hostile header does not flood the text; the attribute keeps it whole."""
    error = BadContentTypeError("x" * 10_000, status=200, headers={})
    assert len(str(error)) < 300
    assert len(error.content_type) == 10_000


def test_texts_hold_no_secrets_of_the_answer():
    """Headers and bodies stay out of texts, which end in logs."""
    error = BadStatusError(status=500, headers={"set-cookie": "hush"}, body_excerpt="hush")
    assert "hush" not in str(error) + repr(error)
