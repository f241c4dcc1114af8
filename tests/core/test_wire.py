"""An event as bytes."""

import pytest

from resilient_sse._core.wire import event


@pytest.mark.parametrize(
    "written, expected",
    [
        (event("a"), b"data: a\n\n"),
        (event("a", id="1", event="tick", retry=250), b"event: tick\nid: 1\nretry: 250\ndata: a\n\n"),
        (event(""), b"data: \n\n"),
        (event("a", id=""), b"id: \ndata: a\n\n"),
        (event("a\nb\r\nc\rd\n"), b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        (event("a\u2028b\x0bc"), "data: a\u2028b\x0bc\n\n".encode()),
        (event(" a"), b"data:  a\n\n"),
    ],
)
def test_text_as_written(written, expected):
    """It is what the HTML standard asks for, and knows its three line ends only."""
    assert written == expected


@pytest.mark.parametrize(
    "error, data, fields, complaint",
    [
        (ValueError, "a", {"id": "1\n2"}, "id must be a single line"),
        (ValueError, "a", {"id": "1\0"}, "id must not contain a NUL"),
        (ValueError, "a", {"event": "a\rb"}, "event must be a single line"),
        (ValueError, "a", {"retry": -1}, "retry must not be negative"),
        (TypeError, {"n": 1}, {}, r"data must be a string: call json.dumps\(\)"),
        (TypeError, "x", {"id": 1}, "id must be a string, not 1"),
        (TypeError, "x", {"retry": "5"}, "retry must be a whole number of milliseconds"),
        (TypeError, "x", {"retry": True}, "retry must be a whole number of milliseconds"),
    ],
)
def test_what_cannot_be_written_is_refused(error, data, fields, complaint):
    """The error names the argument, and nothing is written."""
    with pytest.raises(error, match=complaint):
        event(data, **fields)
