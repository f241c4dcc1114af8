from __future__ import annotations

import copy
import inspect
import pickle
import textwrap

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
    pytest.param(ResilientSSEError("something"), {}, id="root"),
    pytest.param(DecodeError(OVERLOADED, ValueError("secret")), {"event": OVERLOADED}, id="decode"),
    pytest.param(
        HandshakeError("no answer"), {"status": None, "headers": {}, "body_excerpt": ""}, id="handshake"
    ),
    pytest.param(
        HandshakeError("odd", status=302, headers={"location": "/x"}, body_excerpt="moved"),
        {"status": 302, "headers": {"location": "/x"}, "body_excerpt": "moved"},
        id="handshake-answered",
    ),
    pytest.param(
        BadStatusError(status=503, headers={"retry-after": "3"}, body_excerpt="busy"),
        {"status": 503, "headers": {"retry-after": "3"}, "body_excerpt": "busy"},
        id="status",
    ),
    pytest.param(
        BadContentTypeError(
            "text/html", status=200, headers={"content-type": "text/html"}, body_excerpt="<p>"
        ),
        {"content_type": "text/html", "status": 200, "body_excerpt": "<p>"},
        id="content-type",
    ),
    pytest.param(ConnectionLostError(Reason.RESET, "by peer"), {"reason": Reason.RESET}, id="lost"),
    pytest.param(StreamError(OVERLOADED), {"event": OVERLOADED}, id="stream"),
    pytest.param(LimitExceededError(1024), {"limit_bytes": 1024}, id="limit"),
    pytest.param(
        RetriesExhaustedError(attempts=6, elapsed=17.25), {"attempts": 6, "elapsed": 17.25}, id="retries"
    ),
    pytest.param(NotResumableError("the body is spent"), {}, id="not-resumable"),
    pytest.param(CheckpointError("locked", key="orders"), {"key": "orders"}, id="checkpoint"),
]


def tree_in_words(docstring: str) -> dict[str, str]:
    """Read the drawing in *docstring*: each name with that of its parent, judged by indentation."""
    drawing = docstring.partition("```text\n")[2].partition("```")[0]
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in textwrap.dedent(drawing).splitlines():
        name = line.strip("│├└─ ").split()[0]
        depth = line.index(name)
        path = [(above, parent) for above, parent in path if above < depth]
        if path:
            parents[name] = path[-1][1]
        path.append((depth, name))
    return parents


def tree_in_code() -> dict[str, str]:
    """Read the same from the classes."""
    classes = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)
    ]
    return {kind.__name__: kind.__base__.__name__ for kind in classes if kind is not ResilientSSEError}


def test_the_tree_is_the_one_that_is_drawn():
    """The drawing in the module's docstring shows every class below its parent, the relay's too, and no other."""
    assert tree_in_words(errors.__doc__) == {**tree_in_code(), "RelayError": "ResilientSSEError"}
    assert len(tree_in_code()) == 10


def pickled(error: Exception) -> Exception:
    """Send *error* to another process and back."""
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own


@pytest.mark.parametrize("error, facts", SAMPLES)
@pytest.mark.parametrize("duplicate", [pickled, copy.copy], ids=["pickle", "copy"])
def test_errors_survive_pickling(error, facts, duplicate):
    """A worker can send any error home: its class, text and facts arrive."""
    twin = duplicate(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert {name: getattr(twin, name) for name in facts} == facts


def test_every_error_is_tried_above():
    """A new class of error has to be added to the samples."""
    tried = {type(sample.values[0]).__name__ for sample in SAMPLES}
    assert tried == NAMES


@pytest.mark.parametrize(
    "error, text",
    [
        pytest.param(
            BadStatusError(status=418, headers={}),
            "the server answered with status 418 instead of an event stream",
            id="status",
        ),
        pytest.param(
            BadContentTypeError("text/html", status=200, headers={}),
            "expected text/event-stream, the server sent 'text/html'",
            id="content-type",
        ),
        pytest.param(
            BadContentTypeError("", status=200, headers={}),
            "expected text/event-stream, the server sent no Content-Type",
            id="no-content-type",
        ),
        pytest.param(ConnectionLostError(Reason.EOF), "connection lost: eof", id="lost"),
        pytest.param(
            ConnectionLostError(Reason.STALL, "nothing for 30.0 s"),
            "connection lost: stall (nothing for 30.0 s)",
            id="lost-in-detail",
        ),
        pytest.param(
            RetriesExhaustedError(attempts=1, elapsed=0),
            "gave up after 1 failed attempt in 0.0 s",
            id="one-attempt",
        ),
        pytest.param(
            RetriesExhaustedError(attempts=6, elapsed=17.04),
            "gave up after 6 failed attempts in 17.0 s",
            id="attempts",
        ),
    ],
)
def test_texts(error, text):
    """Errors build their own text from their facts."""
    assert str(error) == text


def test_the_limit_is_named_with_what_to_do():
    """The text of a passed limit says which argument to raise."""
    assert "4096 bytes" in str(LimitExceededError(4096))
    assert "max_event_bytes" in str(LimitExceededError(4096))


def test_a_long_content_type_is_cut():
    """A hostile header does not flood the text; the attribute keeps it whole."""
    error = BadContentTypeError("x" * 10_000, status=200, headers={})
    assert len(str(error)) < 300
    assert len(error.content_type) == 10_000


def test_texts_hold_no_secrets_of_the_answer():
    """Headers and bodies stay out of texts, which end in logs."""
    error = BadStatusError(status=500, headers={"set-cookie": "hush"}, body_excerpt="hush")
    assert "hush" not in str(error) + repr(error)
