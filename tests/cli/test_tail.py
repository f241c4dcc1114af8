"""`tail` against a real server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

Run = Callable[..., Any]
Start = Callable[..., subprocess.Popen[bytes]]


def test_text(run: Run, site: str):
    """Events go to standard output, news to standard error, and `until` ends it."""
    done = run("tail", f"{site}/reply", "--until", "done")
    assert done.code == 0
    assert done.out == "[message 1] one\n[message 2] two\n    lines\n[news 3] three\n[done 4] bye\n"
    assert done.err == "* Connected\n* Response complete\n"


def test_json_through_a_pipe(start: Start, site: str):
    """One object per line, which another program can read."""
    process = start("tail", f"{site}/reply", "--until", "done", "--json", "-q")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")
    assert [json.loads(line) for line in out.splitlines()][2:] == [
        {
            "event": "news",
            "data": "three",
            "id": "3",
            "last_event_id": "3",
            "retry": 100,
            "connection": 1,
        },
        {
            "event": "done",
            "data": "bye",
            "id": "4",
            "last_event_id": "4",
            "retry": None,
            "connection": 1,
        },
    ]


def test_reconnects(run: Run, site: str):
    """A clean end is a drop: it resumes, and ends when the server says that there is nothing more."""
    done = run("tail", f"{site}/reply")
    assert done.code == 0
    assert done.out.count("\n") == 5
    connected, lost, complete = done.err.splitlines()
    assert connected == "* Connected"
    assert lost.startswith("* Connection lost - attempting to reconnect... [eof; retry 1/5 in ")
    assert complete == "* Response complete"


@pytest.mark.parametrize("option", ["--complete-on-eof", "--no-reconnect"])
def test_clean_end(run: Run, site: str, option: str):
    """Both options take a clean end as the end."""
    done = run("tail", f"{site}/reply", option, "--raw")
    assert (done.code, done.out) == (0, "one\ntwo\nlines\nthree\nbye\n")


def test_count_and_resumption(run: Run, site: str):
    """--last-event-id resumes, and --count ends."""
    done = run("tail", f"{site}/reply", "--last-event-id", "1", "--count", "2", "-q")
    assert (done.code, done.out, done.err) == (0, "[message 2] two\n    lines\n[news 3] three\n", "")


def test_events(run: Run, site: str):
    """--events filters, and shows heartbeats if they are asked for."""
    done = run("tail", f"{site}/reply", "--events", "news,heartbeat", "--no-reconnect", "--raw")
    assert done.out == "beat\nthree\n"


def test_request(run: Run, site: str):
    """What curl can send is sent."""
    done = run(
        *(
            "tail",
            f"{site}/echo?a=1",
            "--no-reconnect",
            "-q",
            "--raw",
            "-X",
            "PUT",
            "-d",
            "body",
            "-u",
            "me:pw",
        ),
        *("-H", "X-One: 1", "-H", "User-Agent: mine", "--last-event-id", "9", "--resume-param", "after"),
    )
    told = json.loads(done.out)
    assert (told["method"], told["body"], told["query"]) == ("PUT", "body", {"a": "1", "after": "9"})
    headers = told["headers"]
    assert headers["authorization"] == "Basic bWU6cHc="
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert (headers["x-one"], headers["user-agent"], headers["last-event-id"]) == ("1", "mine", "9")


def test_verbose(run: Run, site: str):
    """-v shows what the server said besides events."""
    done = run("tail", f"{site}/reply", "-v", "--until", "done")
    lines = done.err.splitlines()
    assert lines[:2] == ["* Connected", "< 200"]
    assert any(line.startswith("< content-type: text/event-stream") for line in lines)
    assert "< :comment" in lines


def test_control_characters(run: Run, site: str):
    """They are escaped, even in a file that somebody will look at."""
    done = run("tail", f"{site}/hostile", "--no-reconnect", "-q")
    assert done.out == "[e\\x9b2J a\\x1bb] \\x1b[31mred\\x07\n    \\x7f\ttab\n"


def test_raw_bytes(run: Run, site: str):
    """--raw to a file is the data, byte for byte."""
    done = run("tail", f"{site}/hostile", "--no-reconnect", "-q", "--raw")
    assert done.out == "\x1b[31mred\x07\n\x7f\ttab\n"


def test_bad_status(run: Run, site: str):
    """A status that cannot be mended is exit code 3, and the server's reason is quoted harmlessly."""
    done = run("tail", f"{site}/missing")
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "resilient-sse: error: the server answered with status 404 instead of an event stream: "
        '{"error":"no such\\nstream \\u001b[2J"}\n'
    )


def test_bad_content_type(run: Run, site: str):
    """So is a page."""
    done = run("tail", f"{site}/page")
    assert done.code == 3
    assert done.err == (
        "resilient-sse: error: expected text/event-stream, the server sent 'text/html; charset=utf-8'\n"
    )


def test_connection_refused(run: Run):
    """Nobody listens, and no retry is allowed: exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = run("tail", f"http://127.0.0.1:{port}/", "--max-retries", "0")
    assert done.code == 1
    assert done.err.startswith(
        "resilient-sse: error: gave up after 1 failed attempt in 0.0 s: connection lost"
    )
    assert done.err.count("\n") == 1


def test_eof_without_retries(run: Run, site: str):
    """A clean end is no failure, whatever the budget: the stream goes on; --no-reconnect ends it there (P48)."""
    assert run("tail", f"{site}/reply", "--max-retries", "0").code == 0


def test_not_resumable(run: Run, site: str):
    """A POST whose events have no ids is not sent twice: exit code 4."""
    done = run("tail", f"{site}/echo", "-d", "x", "-q")
    assert done.code == 4
    assert done.err.count("\n") == 1


def test_timeout(run: Run, site: str):
    """--timeout ends it whatever happens, as timeout(1) does."""
    done = run("tail", f"{site}/quiet", "--timeout", "0.3")
    assert (done.code, done.out) == (124, "[message 1] first\n")
    assert done.err == "* Connected\nresilient-sse: error: --timeout: 0.3 s have passed\n"


def test_stall(run: Run, site: str):
    """Silence is announced and then mended."""
    done = run("tail", f"{site}/quiet", "--stall-timeout", "0.5", "--timeout", "1")
    told = done.err.splitlines()
    assert told[1] == "* Waiting for server response..."
    assert "[stall; retry 1/5 in " in told[2]


def shell(script: str, command: list[str], url: str) -> subprocess.CompletedProcess[str]:
    """Run a pipeline of bash; $tail is the command, $url the address."""
    bash = shutil.which("bash") or pytest.skip("needs bash")
    environment = {**os.environ, "url": url}
    script = f'tail=("$@"); {script}; echo "${{PIPESTATUS[@]}}" >&2'
    return subprocess.run(
        [bash, "-c", script, "bash", *command, "tail"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("path", ["endless", "endless?size=100000", "quiet"])
def test_broken_pipe(command: list[str], site: str, path: str):
    """`| head -1` ends it at once and quietly, also where no further event would find out."""
    done = shell('"${tail[@]}" -q "$url" | head -1 | wc -l', command, f"{site}/{path}")
    assert done.stdout.strip() == "1"
    assert done.stderr == "141 0 0\n"


@pytest.mark.parametrize("path", ["quiet", "endless"])
@pytest.mark.slow
def test_interrupt(start: Start, site: str, path: str):
    """Ctrl-C is exit code 130 and no traceback, also while a reader that does not read blocks the output."""
    process = start("tail", f"{site}/{path}", "--json")
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"{")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    _, err = process.communicate()
    assert err == b"* Connected\n"


def test_full_disk(start: Start, site: str):
    """Output that cannot be written is exit code 4."""
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("needs /dev/full")
    with device.open("wb") as full:
        process = start("tail", f"{site}/reply", "-q", stdout=full)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 4
    assert err.startswith(b"resilient-sse: error: the output cannot be written: ")
    assert err.count(b"\n") == 1


@pytest.mark.slow
def test_memory_is_flat(command: list[str], site: str):
    """A tenfold longer stream takes no more memory."""
    resource = pytest.importorskip("resource")
    del resource
    script = (
        "import resource, sys; from resilient_sse.cli import main; main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )

    def peak(count: int) -> int:
        done = subprocess.run(
            [command[0], "-c", script, "tail", f"{site}/endless?size=1000", "-q", "--count", str(count)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            check=True,
        )
        return int(done.stderr)

    assert peak(10_000) < 1.1 * peak(1_000)
