"""Exit codes and the sentence that goes with them."""

import re
from pathlib import Path

import pytest

from resilient_sse import (
    BadContentTypeError,
    BadStatusError,
    ConnectionLostError,
    LimitExceededError,
    NotResumableError,
    Reason,
    ResilientSSEError,
    RetriesExhaustedError,
)
from resilient_sse.cli import main
from resilient_sse.cli.exits import Exit, complain, explain


def refused(body: str, content_type: str) -> BadStatusError:
    """Make an error with a body."""
    return BadStatusError(status=403, headers={"content-type": content_type}, body_excerpt=body)


@pytest.mark.parametrize(
    "error, code, words",
    [
        (RetriesExhaustedError(attempts=1, elapsed=0.04), 1, "gave up after 1 failed attempt in 0.0 s: None"),
        (refused("why", "text/plain"), 3, "status 403 instead of an event stream: why"),
        (refused("<p>why", "text/html"), 3, "status 403 instead of an event stream"),
        (BadContentTypeError("text/html", status=200, headers={}, body_excerpt="x"), 3, "sent 'text/html'"),
        (LimitExceededError(10), 4, "raise max_event_bytes to accept it"),
        (NotResumableError("cannot"), 4, "cannot"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_explain(error: ResilientSSEError, code: int, words: str):
    """Each kind of error has its code."""
    found, text = explain(error)
    assert found == code
    assert text.endswith(words)


def test_last_failure_is_named():
    """Who gave up says what was last."""
    error = RetriesExhaustedError(attempts=6, elapsed=16.2)
    error.__cause__ = ConnectionLostError(Reason.STALL, "nothing for 30.0 s")
    _, text = explain(error)
    assert text == "gave up after 6 failed attempts in 16.2 s: connection lost: stall (nothing for 30.0 s)"


def test_complain(capsys: pytest.CaptureFixture[str]):
    """A complaint is one line, whatever a server put into it."""
    complain("two\nlines \x1b[2J")
    assert capsys.readouterr().err == "resilient-sse: error: two lines \\x1b[2J\n"


def test_codes():
    """The codes are a promise."""
    assert {code.name: int(code) for code in Exit} == {
        "ENDED": 0,
        "GAVE_UP": 1,
        "USAGE": 2,
        "REFUSED": 3,
        "OTHER": 4,
        "TIMEOUT": 124,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
    }


def test_codes_in_the_help(capsys: pytest.CaptureFixture[str]):
    """The help of `tail` lists them all."""
    main(["tail", "--help"])
    _, _, codes = capsys.readouterr().out.partition("exit codes:")
    assert [int(code) for code in re.findall(r"^  (\d+) ", codes, re.MULTILINE)] == sorted(Exit)


def test_codes_in_the_docs():
    """So does the page."""
    page = Path(__file__).parents[2] / "docs/use/use-the-command-line.md"
    codes = re.findall(r"^\| (\d+) \|", page.read_text(), re.MULTILINE)
    assert [int(code) for code in codes] == sorted(Exit)
