"""The command line, without a network."""

import io
import sys
from pathlib import Path

import pytest

from resilient_sse.cli.arguments import DemoOptions, TailOptions, parse

URL = "https://host/stream"


def tail(*arguments: str) -> TailOptions:
    """Parse the arguments of `tail`."""
    options = parse(["tail", URL, *arguments])
    assert isinstance(options, TailOptions)
    return options


def test_defaults():
    """Without options, everything is as the library has it."""
    assert tail() == TailOptions(url=URL)


def test_url_without_scheme():
    """As with curl, http:// is assumed."""
    options = parse(["tail", "host:8000/stream"])
    assert isinstance(options, TailOptions)
    assert options.url == "http://host:8000/stream"


def test_headers_of_curl():
    """-H may be repeated, and ends with a semicolon for an empty value."""
    options = tail("-H", "X-One: a: b ", "-H", "X-Two;", "-H", "X-Three:")
    assert options.headers == [("X-One", "a: b"), ("X-Two", ""), ("X-Three", "")]


def test_data_implies_post():
    """-d makes a POST of a form, and parts are joined."""
    options = tail("-d", "a=1", "-d", "b=ü")
    assert (options.method, options.content) == ("POST", "a=1&b=ü".encode())
    assert options.headers == [("Content-Type", "application/x-www-form-urlencoded")]


def test_own_method_and_type_with_data():
    """-X and a Content-Type of one's own win."""
    options = tail("-d", "{}", "-X", "PUT", "-H", "content-type: application/json")
    assert (options.method, options.headers) == ("PUT", [("content-type", "application/json")])


def test_data_from_file_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """@FILE and @- are read, without line ends, as curl does."""
    (tmp_path / "body").write_bytes(b'{\r\n"a": 1\n}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from\nstdin\n")))
    assert tail("-d", f"@{tmp_path / 'body'}", "-d", "@-").content == b'{"a": 1}&fromstdin'


def test_credentials():
    """The name ends at the first colon."""
    assert tail("-u", "me:pass:word").auth == ("me", "pass:word")


def test_password_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    """A person at a terminal is asked."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: f"secret for {prompt}")
    assert tail("-u", "me").auth == ("me", "secret for Password for 'me': ")


def test_no_reconnect_is_one_connection():
    """--no-reconnect means no retries, and that a clean end is the end."""
    options = tail("--no-reconnect")
    assert (options.max_retries, options.complete_on_eof) == (0, True)


def test_no_limits():
    """`none` switches a limit off."""
    options = tail("--max-retries", "none", "--stall-timeout", "none")
    assert (options.max_retries, options.stall_timeout) == (None, None)


def test_habits_of_curl():
    """-sN is understood."""
    assert tail("-sN").quiet


def test_everything_else():
    """The other options arrive under the names of the library."""
    options = tail(
        *("--last-event-id", "7", "--resume-param", "after", "--events", "a,b,", "--until", "done"),
        *("--count", "3", "--timeout", "1.5", "--complete-on-eof", "--json", "-v", "--max-retries", "2"),
    )
    assert options == TailOptions(
        url=URL,
        last_event_id="7",
        resume_param="after",
        events=frozenset({"a", "b"}),
        until="done",
        count=3,
        timeout=1.5,
        complete_on_eof=True,
        form="json",
        verbose=True,
        max_retries=2,
    )


def test_demo():
    """The demo has a seed, and lines for those who want them."""
    assert parse(["demo", "--seed", "3", "--plain"]) == DemoOptions(seed=3, plain=True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["other"],
        ["tail"],
        ["tail", URL, "more"],
        ["tail", URL, "--jso"],
        ["tail", URL, "--json", "--raw"],
        ["tail", URL, "-q", "-v"],
        ["tail", URL, "--count", "0"],
        ["tail", URL, "--count", "²"],
        ["tail", URL, "--timeout", "0"],
        ["tail", URL, "--timeout", "nan"],
        ["tail", URL, "--timeout", "soon"],
        ["tail", URL, "--max-retries", "-1"],
        ["tail", URL, "--max-retries", "1", "--no-reconnect"],
        ["tail", URL, "--events", ","],
        ["tail", URL, "-H", "no colon"],
        ["tail", URL, "-H", "no name: value"],
        ["tail", URL, "-H", "X-A: line\nend"],
        ["tail", URL, "-u", "nobody-to-ask"],
        ["tail", URL, "-d", "@no/such/file"],
        ["demo", "--seed", "x"],
        ["demo", "--sabotage", "x"],
    ],
    ids=" ".join,
)
def test_usage_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Wrong arguments are one line on standard error, and exit code 2."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(SystemExit) as stop:
        parse(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.startswith("resilient-sse")
    assert err.count("\n") == 1
