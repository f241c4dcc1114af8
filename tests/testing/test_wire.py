"""What goes over the wire: events as the standard writes them, comments, pauses, cuts and compression."""

import zlib

import pytest

from resilient_sse.testing import Pause, comment, event, gzipped, pause, sliced
from resilient_sse.testing.wire import encoded


@pytest.mark.parametrize(
    "written,expected",
    [
        pytest.param(event("a"), b"data: a\n\n", id="data-alone"),
        pytest.param(
            event("a", id="1", event="tick", retry=250),
            b"event: tick\nid: 1\nretry: 250\ndata: a\n\n",
            id="all",
        ),
        pytest.param(event(""), b"data: \n\n", id="empty-data-is-still-an-event"),
        pytest.param(event("a", id=""), b"id: \ndata: a\n\n", id="empty-id-clears"),
        pytest.param(event("a\nb\r\nc\rd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n", id="three-line-ends"),
        pytest.param(event("a\n"), b"data: a\ndata: \n\n", id="final-line-end-kept"),
        pytest.param(event("a\u2028b\x0bc"), "data: a\u2028b\x0bc\n\n".encode(), id="no-other-line-ends"),
        pytest.param(event(" a"), b"data:  a\n\n", id="leading-space-kept"),
        pytest.param(comment(), b":\n\n", id="empty-comment"),
        pytest.param(comment("ping"), b": ping\n\n", id="comment"),
        pytest.param(comment("a\nb"), b": a\n: b\n\n", id="comment-of-two-lines"),
    ],
)
def test_text_as_written(written, expected):
    """Each helper writes what the HTML standard asks for."""
    assert written == expected


@pytest.mark.parametrize(
    "arguments",
    [{"id": "1\n2"}, {"id": "1\0"}, {"event": "a\rb"}, {"retry": -1}],
    ids=["id", "nul", "event", "retry"],
)
def test_what_cannot_be_written_is_refused(arguments):
    """A value that a client would read as something else is an error, and the message names it."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        event("a", **arguments)


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_pauses_are_finite(seconds):
    """Endless silence is an ending of its own."""
    with pytest.raises(ValueError, match="seconds"):
        pause(seconds)


def test_slices_join_to_the_whole():
    """Slicing keeps every byte and cuts at the size asked for."""
    assert sliced(b"abcdefg", 3) == [b"abc", b"def", b"g"]
    assert sliced(b"", 3) == []
    with pytest.raises(ValueError, match="size"):
        sliced(b"abc", 0)


def test_compressed_chunks_decode_one_by_one():
    """Each compressed chunk gives its text as soon as it has arrived."""
    decoder = zlib.decompressobj(wbits=31)
    assert [decoder.decompress(chunk) for chunk in gzipped(b"one", b"two")] == [b"one", b"two"]
    assert not decoder.eof


@pytest.mark.parametrize("complete", [True, False])
def test_only_complete_streams_have_a_trailer(complete):
    """A stream that ends as it should ends the compression, too."""
    decoder = zlib.decompressobj(wbits=31)
    parts = list(encoded((b"one", Pause(1), b"two"), gzip=True, complete=complete))
    assert parts[1] == Pause(1)
    assert b"".join(decoder.decompress(part) for part in parts if isinstance(part, bytes)) == b"onetwo"
    assert decoder.eof is complete


def test_empty_chunks_are_left_out():
    """An empty read would mean that the connection has ended."""
    assert list(encoded((b"", b"a", b""), gzip=False, complete=True)) == [b"a"]


@pytest.mark.parametrize(
    "misuse,complaint",
    [
        (
            lambda: event({"n": 1}),
            r"data must be a string: call json.dumps\(\) or the like before, not {'n': 1}",
        ),
        (lambda: event(b"x"), "data must be a string"),
        (lambda: event("x", id=1), "id must be a string, not 1"),
        (lambda: event("x", event=1), "event must be a string, not 1"),
        (lambda: event("x", retry=1.5), "retry must be a whole number of milliseconds, not 1.5"),
        (lambda: event("x", retry="5"), "retry must be a whole number of milliseconds, not '5'"),
        (lambda: comment(5), "text must be a string, not 5"),
        (lambda: pause("1"), "seconds must be a number, not '1'"),
    ],
)
def test_a_wrong_type_is_named(misuse, complaint):
    """What is no text would come out as something else, or fail far from here."""
    with pytest.raises(TypeError, match=complaint):
        misuse()
