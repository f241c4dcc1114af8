"""The page of errors draws the tree as it is and has an entry for each class."""

import inspect
import re
from pathlib import Path

import pytest

import resilient_sse
from resilient_sse import (
    BadContentTypeError,
    BadStatusError,
    CheckpointError,
    ConnectionLostError,
    DecodeError,
    HandshakeError,
    LimitExceededError,
    NotResumableError,
    Reason,
    ResilientSSEError,
    RetriesExhaustedError,
    ServerSentEvent,
    StateChange,
    StreamError,
    StreamState,
)
from resilient_sse._core import errors
from resilient_sse._core.messages import compose
from resilient_sse.relay import RelayError
from tests.docs.pages import code, fences, table, text_of

PAGE = text_of("reference/errors.md")
PUBLIC = [
    value
    for name in resilient_sse.__all__
    if inspect.isclass(value := getattr(resilient_sse, name)) and issubclass(value, Exception)
]
ENTRIES = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def tree(drawing):
    """Return the pairs of parent and child that a drawing shows."""
    parents, pairs = {}, set()
    for line in drawing.strip().splitlines():
        indent, name = re.match(r"^([\s│├└─]*)(\w+)", line).groups()
        depth = len(indent) // 4
        parents[depth] = name
        if depth:
            pairs.add((parents[depth - 1], name))
    return pairs


REAL = {
    (kind.__base__.__name__, kind.__name__) for kind in [*PUBLIC, RelayError] if kind is not ResilientSSEError
}


def test_the_tree():
    """The page draws the classes as they are related, and the module's docstring as the page does."""
    assert tree(fences(PAGE, "text")[0]) == REAL
    assert fences(errors.__doc__, "text") == fences(PAGE, "text")[:1]


def text(error, *, old=StreamState.CONNECTED, new=StreamState.ERROR, reason=Reason.STATUS, attempt=0):
    """Return what people are told about an error."""
    return compose(StateChange(old=old, new=new, reason=reason, attempt=attempt, max_retries=5, error=error))


EXAMPLES = [
    ResilientSSEError("x"),
    HandshakeError("x"),
    BadStatusError(status=403, headers={}),
    BadContentTypeError("text/html", status=200, headers={}),
    ConnectionLostError(Reason.EOF),
    StreamError(ServerSentEvent(event="error", data="x")),
    DecodeError(ServerSentEvent(data="x"), ValueError("x")),
    LimitExceededError(1),
    RetriesExhaustedError(attempts=6, elapsed=17.0),
    NotResumableError("x"),
    CheckpointError("x", key="x"),
]


def test_every_error_has_an_entry():
    """Each class has a section that says when, lists the attributes that it has, and says what to do."""
    assert {type(error) for error in EXAMPLES} == {*PUBLIC}
    for error in EXAMPLES:
        kind = type(error)
        entry = ENTRIES[kind.__name__]
        assert "\nWhen\n: " in f"\n{entry}"
        assert "\nWhat to do\n: " in entry
        assert f".. autoexception:: {kind.__name__}\n" in entry
        (line,) = re.findall(r"^Attributes\n: (.*)", entry, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", line)) == set(vars(error))
        own = re.findall(r"self\.(\w+)(?:: [^=]+)? =", inspect.getsource(kind))
        told = re.findall(r"^\s+(\w+): ", inspect.getdoc(kind), re.MULTILINE)
        assert {*own} <= {*told}


FAULTS = ("the request cannot be sent:", "the server's redirect")
OBSTACLES = ("events were delivered and none had an id", "the request body was an iterator")
LOST = ConnectionLostError(Reason.RESET)
SAID = {
    RetriesExhaustedError: [text(RetriesExhaustedError(attempts=6, elapsed=17.0), reason=Reason.RETRIES)],
    BadStatusError: [text(BadStatusError(status=403, headers={}))],
    BadContentTypeError: [text(BadContentTypeError("text/html", status=200, headers={}))],
    HandshakeError: [text(HandshakeError(f"{start} x")) for start in FAULTS],
    LimitExceededError: [text(LimitExceededError(1))],
    NotResumableError: [text(NotResumableError(f"{start} x")) for start in OBSTACLES],
    ConnectionLostError: [
        text(LOST, new=StreamState.RECONNECTING, attempt=1),
        text(LOST, old=StreamState.RECONNECTING, new=StreamState.RECONNECTING, attempt=2),
    ],
}


def test_every_text_leads_to_its_entry():
    """Who looks for a text finds the error that it comes from."""
    rows = [
        (code(said).removesuffix("..."), meaning) for said, meaning in table(PAGE, "text", "what it means")
    ]
    for kind, texts in SAID.items():
        for said in texts:
            (meaning,) = [meaning for start, meaning in rows if said.startswith(start)]
            assert f"[{kind.__name__}](#{kind.__name__.lower()})" in meaning


@pytest.mark.parametrize("words", [*FAULTS, *OBSTACLES])
def test_the_words_are_those_of_the_code(words):
    """The obstacles and faults that the table quotes are written in the package as quoted."""
    sources = Path(resilient_sse.__file__).parent.rglob("*.py")
    assert any(words in source.read_text(encoding="utf-8") for source in sources)
