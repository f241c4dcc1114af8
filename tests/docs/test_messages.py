"""The page of messages holds the catalogue as it is."""

import string

import pytest

from resilient_sse import (
    DEFAULT_MESSAGES,
    Reason,
    ResilientStream,
    StateChange,
    StreamState,
    compact_messages,
)
from tests.docs.pages import code, table, text_of

PAGE = text_of("reference/messages.md")
CONNECTED, RECONNECTING = StreamState.CONNECTED, StreamState.RECONNECTING


def test_every_text_is_listed():
    """The table has each key with its template, in the order of the catalogue."""
    rows = table(PAGE, "key", "text", "when")
    assert [(code(key), code(text)) for key, text, _ in rows] == list(DEFAULT_MESSAGES.items())


def test_every_field_is_listed():
    """The table has the fields that a template may use, and no other."""
    fields = [code(row[0]) for row in table(PAGE, "field", "what")]
    assert len(set(fields)) == len(fields)
    used = {
        f"{{{name}}}"
        for text in DEFAULT_MESSAGES.values()
        for _, name, _, _ in string.Formatter().parse(text)
        if name
    }
    assert used <= set(fields)
    ResilientStream("https://host/", messages={"lost": " ".join(fields)})
    with pytest.raises(ValueError, match="messages"):
        ResilientStream("https://host/", messages={"lost": "{other}"})


def change(new, *, old=CONNECTED, reason=Reason.EOF, attempt=0):
    """Make a transition as far as a text depends on it."""
    return StateChange(old=old, new=new, reason=reason, attempt=attempt, max_retries=5)


def test_the_compact_texts():
    """Each row of the table is what the function says."""
    rows = [code(text) for _, text in table(PAGE, "when", "text")]
    assert [
        compact_messages(change(CONNECTED)),
        compact_messages(change(StreamState.WAITING)),
        compact_messages(change(RECONNECTING, attempt=2)).replace("2", "{attempt}"),
        compact_messages(change(RECONNECTING, attempt=3)),
        compact_messages(change(StreamState.ERROR, reason=Reason.RETRIES)),
    ] == rows
    assert compact_messages(change(RECONNECTING, attempt=1)) == rows[2].format(attempt=1)
    assert compact_messages(change(RECONNECTING, attempt=5)) == rows[3]
