"""`tail`: against a real server, within this process where no process is needed."""

import io
import json
import os
import re
import signal
import sqlite3
import ssl
import subprocess
import sys
from contextlib import closing

import pytest
import trustme

from resilient_sse.cli.output import escape, escaped_json
from tests.e2e.raw_server import EVENT_STREAM, RawServer

pytestmark = pytest.mark.e2e


def told(run, site, *arguments):
    """Return what the server says that it was asked."""
    return json.loads(run("tail", f"{site}/echo?a=1", "--no-reconnect", "-q", "--raw", *arguments).out)


def test_text(run, site):
    """Events go to standard output, news to standard error, and `until` ends it."""
    done = run("tail", f"{site}/reply", "--until", "done")
    assert done.code == 0
    assert done.out == "[message 1] one\n[message 2] two\n    lines\n[news 3] three\n[done 4] bye\n"
    assert done.err == "* Connected\n* Response complete\n"


def test_json(run, site):
    """One object a line, with every field, harmless for a terminal, and what was sent once decoded."""
    done = run("tail", f"{site}/reply", "--until", "done", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    assert done.objects[2] == {
        "event": "news",
        "data": "three",
        "id": "3",
        "last_event_id": "3",
        "retry": 100,
        "connection": 1,
    }
    assert done.objects[3]["retry"] is None
    done = run("tail", f"{site}/hostile", "--no-reconnect", "-q", "--json")
    assert done.out[:-1].isprintable()
    assert done.objects[0]["data"] == "\x1b[31mred\x07\n\x7f\ttab é"
    assert "é" in done.out


def test_control_characters(run, site):
    """They are escaped, even in a file that somebody will look at; `--raw` is byte for byte."""
    hostile = ("tail", f"{site}/hostile", "--no-reconnect", "-q")
    assert run(*hostile).out == "[e\\x9b2J a\\x1bb] \\x1b[31mred\\x07\n    \\x7f\ttab é\n"
    assert run(*hostile, "--raw").out == "\x1b[31mred\x07\n\x7f\ttab é\n"


def test_escape():
    """C0, DEL, C1 and marks of direction are written out, in JSON too; tabs, line feeds and letters stay."""
    harmless = "\t\n" + "".join(map(chr, range(0x20, 0x7F))) + "\xa0ü😀\u200d\u2028"
    assert escape(harmless) == harmless
    assert escape("\x00\x07\x08\r\x1b]0;x\x7f\x80\x9b\x9f") == r"\x00\x07\x08\r\x1b]0;x\x7f\x80\x9b\x9f"
    assert escape("\u061c\u200e\u202e\u2066\u2069\ud800") == r"\u061c\u200e\u202e\u2066\u2069\ud800"
    text = f"é\x9b\x7f\u202e{harmless}"
    assert r'{"é\u009b\u007f\u202e' in escaped_json({text: 1})
    assert json.loads(escaped_json(text)) == text


class Terminal(io.StringIO):
    """A standard output that says it is a terminal."""

    encoding = "ascii"

    def isatty(self):
        return True


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal(run, site, monkeypatch, colour):
    """There the label has a colour, unless NO_COLOR is set, and nothing else has a control character."""
    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    assert run("tail", f"{site}/hostile", "--no-reconnect", "-q").code == 0
    label = r"[e\x9b2J a\x1bb]"
    assert screen.getvalue() == (
        (f"\x1b[36m{label}\x1b[0m" if colour else label) + " \\x1b[31mred\\x07\n    \\x7f\ttab \\xe9\n"
    )
    screen.truncate(0)
    run("tail", f"{site}/hostile", "--no-reconnect", "-q", "--raw")
    assert screen.getvalue().lstrip("\0") == "\\x1b[31mred\\x07\n\\x7f\ttab \\xe9\n"


def test_timestamps(run, site):
    """-t says when each line came, on both outputs and in objects."""
    done = run("tail", f"{site}/reply", "--until", "done", "-t")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d "
    assert re.match(stamp + r"\[message 1\] one\n", done.out)
    assert re.match(stamp + r"\* Connected\n", done.err)
    (first, *_) = run("tail", f"{site}/reply", "--until", "done", "-t", "--json").objects
    assert re.fullmatch(stamp, first["at"] + " ")


def test_reconnects(run, site):
    """A clean end is a drop: it resumes, and ends when the server says that there is nothing more."""
    done = run("tail", f"{site}/reply")
    assert done.code == 0
    assert done.out.count("\n") == 5
    connected, lost, complete = done.err.splitlines()
    assert connected == "* Connected"
    assert lost.startswith("* Connection lost - attempting to reconnect... [eof; retry 1/5 in ")
    assert complete == "* Response complete"
    assert "lost" not in run("tail", f"{site}/reply", "--complete-on-eof").err


@pytest.mark.parametrize(
    "arguments, out",
    [
        ("--complete-on-eof", "one two lines three bye"),  # both options take a clean end as the end
        ("--no-reconnect", "one two lines three bye"),
        ("--max-retries 0", "one two lines three bye"),  # it is no failure, whatever the budget (P48)
        ("--last-event-id 1 --count 2", "two lines three"),
        ("--until three", "one two lines three"),  # also by the data
        ("--events news,heartbeat, --no-reconnect", "beat three"),  # heartbeats if they are asked for
        ("--until heartbeat", "one two lines beat"),
    ],
)
def test_where_it_begins_and_ends(run, site, tmp_path, arguments, out):
    """What is printed, or with -o written to a file."""
    said = [*["tail", "-q", "--raw"], f"{site}/reply", *arguments.split()]
    done = run(*said)
    assert (done.code, done.out.split(), done.err) == (0, out.split(), "")
    done = run(*said, "-o", str(tmp_path / "events"))
    assert (done.out, (tmp_path / "events").read_text().split()) == ("", out.split())


def test_request(run, site):
    """What curl can send is sent."""
    curl = ["-X", "PUT", "-d", "body", "-u", "me:p:w", "-sNL", "-H", "X-One: 1: 2 ", "-H", "X-Two;"]
    ours = ["-H", "User-Agent: mine", "--last-event-id", "9", "--resume-param", "after"]
    seen = told(run, site, *curl, *ours)
    assert (seen["method"], seen["body"], seen["query"]) == ("PUT", "body", {"a": "1", "after": "9"})
    headers = seen["headers"]
    assert headers["authorization"] == "Basic bWU6cDp3"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert (headers["x-one"], headers["x-two"], headers["user-agent"]) == ("1: 2", "", "mine")
    assert headers["last-event-id"] == "9"


def test_data(run, site, tmp_path, monkeypatch):
    """-d makes a POST; parts are joined, files read without line ends; a Content-Type of one's own wins."""
    (tmp_path / "body").write_bytes(b'{\r\n"a": 1\n}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from\nstdin\n")))
    seen = told(run, site, "-d", f"@{tmp_path / 'body'}", "-d", "@-", "-d", "ü", "-H", "content-type: text/x")
    assert (seen["method"], seen["body"]) == ("POST", '{"a": 1}&fromstdin&ü')
    assert seen["headers"]["content-type"] == "text/x"


def test_password_is_asked_for(run, site, monkeypatch):
    """A person at a terminal is asked."""
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: f"asked for by {prompt}")
    seen = told(run, site, "-u", "me")
    assert seen["headers"]["authorization"].startswith("Basic bWU6YXNrZWQg")


def test_urls(run, site):
    """As with curl http:// is assumed, and as with httpie a port alone is on this machine."""
    address = site.removeprefix("http://")
    assert run("tail", f"{address}/reply", "--count", "1", "-q").out == "[message 1] one\n"
    port = address.partition(":")[2]
    done = run("tail", f":{port}/reply", "--count", "1", "-q", "--max-retries", "0")
    assert done.out == "[message 1] one\n"


def secret(peer):
    """Answer with one event."""
    peer.answer("200 OK", EVENT_STREAM, "Connection: close", body=b"data: secret\n\n")


def test_certificates(run, monkeypatch, tmp_path):
    """A certificate is trusted by --cacert or -k only, and one's own is shown by --cert."""
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = other.issue_cert("me")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    trusted = ("--cacert", str(tmp_path / "ca.pem"))
    shown = ("--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    with RawServer(secret, tls=context) as server:

        def asked(*arguments):
            return run(
                "tail", f"https://localhost:{server.port}/", "--no-reconnect", "--raw", "-q", *arguments
            )

        assert asked(*trusted).out == "secret\n"
        assert asked("-k").out == "secret\n"
        done = asked()
        assert done.code == 1
        assert "certificate" in done.err
        other.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        assert asked(*trusted, *shown).out == "secret\n"
        assert asked(*trusted).code == 1
        monkeypatch.setenv("ALL_PROXY", "ftp://host")
        assert "the environment's proxy cannot be used" in asked(*trusted).err


def test_proxy(run):
    """-x sends the request to a proxy, which is asked for another host."""
    with RawServer(secret) as server:
        proxy = f"127.0.0.1:{server.port}"
        assert run("tail", "http://host.invalid/", "-x", proxy, "--no-reconnect").code == 0
        done = run("tail", "http://host.invalid/x", "-x", f"http://{proxy}", "--no-reconnect", "--raw")
    assert done.out == "secret\n"
    assert server.requests[1].target == "http://host.invalid/x"
    assert server.requests[0].headers["user-agent"].startswith("resilient-sse/")


def test_verbose(run, site):
    """-v shows what the server said besides events."""
    done = run("tail", f"{site}/reply", "-v", "--until", "done")
    lines = done.err.splitlines()
    assert lines[:2] == ["* Connected", "< 200"]
    assert any(line.startswith("< content-type: text/event-stream") for line in lines)
    assert "< :comment" in lines


def test_a_loss_is_told(run, site):
    """What the server cannot give again is news (P61)."""
    done = run("tail", f"{site}/gone", "--last-event-id", "9")
    assert done.code == 3
    assert "* Gap (unresumable) after id 9, before id None: events may be missing\n" in done.err


def test_not_resumable(run, site):
    """A POST whose events have no ids is not sent twice: exit code 4."""
    done = run("tail", f"{site}/echo", "-d", "x", "-q")
    assert done.code == 4
    assert done.err.count("\n") == 1


def test_timeout_and_stall(run, site):
    """--timeout ends it whatever happens, as timeout(1) does; silence is announced and then mended before."""
    done = run("tail", f"{site}/quiet", "--stall-timeout", "0.5", "--timeout", "4")
    assert (done.code, done.out) == (124, "[message 1] first\n")
    lines = done.err.splitlines()
    assert lines[:2] == ["* Connected", "* Waiting for server response..."]
    assert "[stall; retry 1/5 in " in lines[2]
    assert lines[-1] == "resilient-sse: error: ended by --timeout, after 4 s"


def test_no_limits(run, site):
    """`none` switches a limit off."""
    limits = ("--max-retries", "none", "--stall-timeout", "none", "--connect-timeout", "none", "-m", "none")
    done = run("tail", f"{site}/reply", *limits)
    assert done.code == 0
    assert "[eof; retry 1 in " in done.err


def test_events_that_are_larger_than_a_pipe(start, site):
    """They arrive whole: a write waits for its reader."""
    process = start("tail", f"{site}/endless?size=300000", "--raw", "-q", "--count", "3")
    assert process.stdout.read() == (b"x" * 300_000 + b"\n") * 3
    assert process.wait(60) == 0


def test_sigterm(start, site, tmp_path):
    """SIGTERM saves the position of what was printed, and ends with the exit code that shells have for it."""
    keeping = ["tail", f"{site}/quiet", "--checkpoint", str(tmp_path / "position"), "--json"]
    process = start(*keeping)
    assert json.loads(process.stdout.readline())["data"] == "first"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert process.communicate() == (b"", b"* Connected\n")
    with closing(sqlite3.connect(tmp_path / "position")) as database:
        assert database.execute("SELECT last_event_id FROM resilient_sse_positions").fetchall() == [("1",)]


@pytest.mark.slow
def test_memory_is_flat(command, site):
    """A tenfold longer stream takes no more memory (one process: the peak after 1,000 events and after 10,000)."""
    pytest.importorskip("resource")
    script = (
        "import resource, sys; from resilient_sse.cli import main\n"
        "for count in ('1000', '10000'):\n"
        "    main([*sys.argv[1:], '--count', count])\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [command[0], "-c", script, "tail", f"{site}/endless?size=1000", "-q", "-o", os.devnull],
        stderr=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    short, long = map(int, done.stderr.split())
    assert long < 1.1 * short


def test_a_position_in_a_file(site, run, tmp_path):
    """A second run goes on behind the first, and a file of output too; another query is another stream (P55)."""
    file, output = str(tmp_path / "position.db"), tmp_path / "out.txt"
    for query in ("?a", "?a", "?b"):
        arguments = ("--checkpoint", file, "-o", str(output), "--raw", "--count", "1")
        assert run("tail", f"{site}/reply{query}", *arguments).code == 0
    assert output.read_text() == "one\ntwo\nlines\none\n"
