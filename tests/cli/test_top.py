"""`resilient-sse top`: what it shows of a program, and that nothing in it harms a terminal."""

import io
import json
import os
import socket
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from rich.cells import cell_len
from rich.console import Console as Canvas

from resilient_sse import ResilientStream
from resilient_sse.cli import top
from resilient_sse.cli.exits import Exit
from resilient_sse.monitoring.console import VERSION, Console
from tests.cli.conftest import finished

END = 20


@pytest.fixture(autouse=True)
def home(monkeypatch):
    """Give a runtime directory in which nobody else listens, with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="top-") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory) / "resilient-sse"


@contextmanager
def program(*names, address=None):
    """Run a program with a console in a thread; give its loop and the path, or HOST:PORT."""
    console = Console(address)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(console):
        streams = [ResilientStream("http://127.0.0.1:9/", observers=[console.named(name)]) for name in names]
        yield portal, console.address
        del streams


def told(name="prices", state="connected", stats=(), **other):
    """Describe a stream as a console does."""
    facts = dict.fromkeys(("lag", "reason", "last_error", "completion"))
    facts |= {"number": 1, "attempt": 0, "state_for": 1.0, "started_for": 2.0}
    facts |= {"silent_for": 0.5, "eventless_for": 0.5}
    figures = {**dict.fromkeys(("received", "bytes_received", "lost", "reconnects"), 0), **dict(stats)}
    return {"name": name, "state": state, **facts, **other, "stats": figures}


def look(*rows, **process):
    """Describe a program as a console does."""
    facts = {"pid": 7, "program": "app.py", "up": 60.0, "at": 100.0, "failed": 0}
    facts |= {"streams": len(rows), "attached": len(rows), **process}
    return {"console": VERSION, "process": facts, "rows": [*rows]}


def drawn(seen, width, *options):
    """Return the lines of the picture as text."""
    canvas = Canvas(width=width, color_system=None, file=io.StringIO())
    canvas.print(top._picture(seen, width, *options))
    return canvas.file.getvalue().splitlines()


@contextmanager
def answering(*answers):
    """Run a console that says what it was told to, one answer a question; give its address, and its listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(
                        answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n"
                    )

        thread = threading.Thread(target=serve)
        thread.start()
        yield "{}:{}".format(*listener.getsockname()), listener
        thread.join(END)


def test_it_lists_the_programs(run, home):
    """Without an address: process, program, streams and path; what was killed leaves nothing behind."""
    with program("a", "b") as (_, path):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(home / "999999999.sock"))
        name = Path(sys.argv[0]).name
        assert run("top").out.split() == [str(os.getpid()), name, "2", "streams", path]
        assert not (home / "999999999.sock").exists()
        (listed,) = run("top", "--json").objects
    assert listed == {"pid": os.getpid(), "path": path, "program": name, "streams": 2, "failed": 0}


def test_nothing_to_list(run):
    """It is said, with what to do."""
    done = run("top")
    assert (done.code, done.out) == (Exit.OTHER, "")
    assert "no program of yours has opened a console; see" in done.err


@pytest.mark.parametrize("by", ["pid", "path", "port"])
def test_once(run, by):
    """One look of one line a stream, with rates; R213: the same as an object."""
    with program("red", "blue", address=0 if by == "port" else None) as (_, at):
        where = str(os.getpid()) if by == "pid" else at
        done = run("top", where, "--once", "--interval", "0.1")
        (seen,) = run("top", where, "--once", "--json", "--interval", "0.1").objects
    assert (done.code, done.err) == (Exit.ENDED, "")
    header, tally, _, *rows = done.out.splitlines()
    assert f"  process {os.getpid()}  watched for " in header
    assert tally == "2 streams  2 not started  0 events/s"
    assert [row.split()[0] for row in rows] == ["blue", "red"]
    assert {*seen} == {"process", "rows"}
    assert seen["process"]["pid"] == os.getpid()
    assert [row["stats"]["received"] for row in seen["rows"]] == [0, 0]


def test_rates(run):
    """What came in between, by the other process's clock; a stream that is new has none yet."""
    before = look(told(stats={"received": 10, "bytes_received": 1000}))
    new = told("new", number=2, stats={"received": 5})
    now = look(told(stats={"received": 30, "bytes_received": 5000}), new, at=102.0)
    for first, rates in ((before, (10.0, 2000.0)), (look(told(), pid=8), (None, None))):
        with answering(first, now) as (address, _):
            (seen,) = run("top", address, "--once", "--json", "--interval", "0.1").objects
        old, fresh = seen["rows"]
        assert (old["events_per_second"], old["bytes_per_second"]) == rates
        assert fresh["events_per_second"] is None


def test_the_program_ends(run):
    """Looking goes on until then; that it has ended is said, and is no failure."""
    with answering(look(told()), look(told()), look(told(), at=101.0)) as (address, listener):
        threading.Timer(0.8, listener.close).start()
        done = run("top", address, "--interval", "0.1")
    assert done.code == Exit.ENDED
    assert done.out.count("1 stream  1 connected") == 2
    assert "process 7 answers no more: it has ended" in done.err


BREAKS_OFF = "breaks off; is it a console, and are not many others looking?"


@pytest.mark.parametrize(
    "answer,words",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", BREAKS_OFF),
        (b"[1]\n", BREAKS_OFF),
        (b"", BREAKS_OFF),
        (b"[" * 100_000, BREAKS_OFF),
        (json.dumps(look()).encode()[:-9], BREAKS_OFF),
        (b'{"console": 1, "pid": 7}', "is of another release of resilient-sse"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_answer(run, answer, words):
    """Something else, another release and an answer that is cut short: one line says what it may be."""
    for answers in ((answer,), (look(), answer)):
        with answering(*answers) as (address, _):
            done = run("top", address, "--once", "--interval", "0.1")
        assert (done.code, done.out, done.err.count("\n")) == (Exit.OTHER, "", 1)
        assert words in done.err


@pytest.mark.parametrize("limit", ["_MOST_BYTES", "_LONGEST"])
def test_an_answer_without_an_end(run, monkeypatch, limit):
    """A port that sends for ever, fast or slowly, costs neither all memory nor all time."""
    monkeypatch.setattr(top, limit, 0, raising=False)
    with answering(look()) as (address, _):
        assert run("top", address, "--once").err.endswith(f"{address} {BREAKS_OFF}\n")


def test_an_address_of_ipv6(run):
    """Nobody listens there; IPv4 alone would not even ask."""
    assert "Address family" not in run("top", "[::1]:9", "--once").err


def test_a_program_whose_event_loop_is_held_up(run, monkeypatch):
    """It listens and does not answer: that is told apart from a program that has ended, and it is listed."""
    monkeypatch.setattr(top, "_PATIENCE", 0.3)
    go = threading.Event()
    trouble = "does not answer; is its event loop held up?"

    async def hold():
        go.wait(END)

    with program("a") as (portal, path):
        held = portal.start_task_soon(hold)
        done = run("top", path, "--once")
        assert (done.code, done.err) == (Exit.OTHER, f"resilient-sse: error: {path} {trouble}\n")
        done = run("top")
        assert (done.code, done.err) == (Exit.ENDED, "")
        assert trouble in done.out
        assert run("top", "--json").objects == [{"pid": os.getpid(), "path": path, "trouble": trouble}]
        go.set()
        held.result(END)
        assert run("top", path, "--once", "--interval", "0.1").code == Exit.ENDED


def test_a_full_console(run):
    """Who is turned away is told what that may mean, not of a broken pipe."""
    with program("a") as (_, path), ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        for _ in range(5):  # the console closes before or after the question: both are told alike
            done = run("top", str(os.getpid()), "--once", "--interval", "0.1")
            assert done.code == Exit.OTHER
            assert done.err.endswith(f"{path} {BREAKS_OFF}\n")
        assert BREAKS_OFF in run("top").out


def test_a_queue_that_is_full(run, home):
    """A program that accepts nobody any more is held up; its socket is nobody's to remove."""
    home.mkdir(mode=0o700)
    path = home / "999999999.sock"
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(str(path))
        assert run("top").out.startswith("999999999  does not answer; is its event loop held up?")
        assert path.exists()


def test_a_directory_that_cannot_be_trusted(run, home):
    """Somebody else's sockets are not asked."""
    home.mkdir()
    home.chmod(0o777)
    for arguments in ((), ("7",)):
        done = run("top", *arguments)
        assert done.code == Exit.OTHER
        assert "must be a directory of yours" in done.err


def test_trouble_comes_first():
    """What has given up, then what reconnects, the longest at it first; names decide between equals."""
    rows = [told("well"), told("also-well"), told("closed", "closed"), told("silent", "waiting")]
    rows += [told("tries", "reconnecting", attempt=1), told("tries-long", "reconnecting", attempt=9)]
    rows += [told("dead", "error", attempt=5)]
    order = ["dead", "tries-long", "tries", "silent", "also-well", "well", "closed"]
    assert [line.split()[0] for line in drawn(look(*rows), 100)[3:]] == order


@pytest.mark.parametrize("width", [26, 40, 79, 80, 100, 140, 250])
def test_what_there_is_room_for(width):
    """No line is wider than the terminal; at 80 there is what matters, at 140 also the lag and why."""
    long = told("日本語" * 30, "reconnecting", attempt=3, last_error="E" * 99, reason="server")
    lines = drawn(look(long, told(lag=1.0)), width)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 5
    matters, more = (
        ["NAME", "STATE", "FOR", "TRY", "EVENT", "BYTE", "EV/S", "RECON", "LOST", "DUPS"],
        {"LAG", "GAPS", "STALLS", "WHY"},
    )
    if width == 80:
        assert lines[2].split() == matters
    if width == 140:
        *_, titles, row = drawn(look(told("n" * 28)), width)
        assert {*titles.split()} == {*matters, *more}
        assert row.startswith("n" * 28)


def test_what_a_row_says():
    """Each figure stands under its title, and the reason is given where a stream is not well."""
    stats = {"reconnects": 1234, "lost": 2, "gaps": 1, "duplicates": 7, "stalls": 4}
    times = {"state_for": 75.0, "silent_for": None, "lag": 0.25}
    ill = told(
        "orders", "reconnecting", stats, **times, attempt=3, reason="server", last_error="BadStatusError 503"
    )
    _, tally, titles, row = drawn(look(ill), 200)
    ends = {title: titles.index(title) + len(title) for title in titles.split()}
    assert row.startswith("orders ")
    assert row[titles.index("STATE") :].startswith("reconnecting ")
    assert row.rstrip().endswith("server: BadStatusError 503")
    expected = {"FOR": "1m15s", "TRY": "3", "EVENT": "0.5s", "BYTE": "-", "LAG": "0.2s"}
    expected |= {"EV/S": "-", "RECON": "1.2k", "LOST": "2", "GAPS": "1", "DUPS": "7", "STALLS": "4"}
    assert {title: row[: ends[title]].rsplit(maxsplit=1)[-1] for title in expected} == expected
    assert tally.rstrip() == "1 stream  1 reconnecting"
    assert drawn(look(told(reason="opened", last_error="E")), 200)[3].rstrip().endswith("0")


def test_streams_that_share_a_name():
    """Each has its number before it, however long the name and narrow the terminal; others have none."""
    rows = [told("n" * 50, number=number) for number in (7, 12)]
    lines = [line.split()[:2] for line in drawn(look(*rows, told("b")), 80)[3:]]
    assert [first for first, _ in lines] == ["b", "#7", "#12"]


def test_what_is_not_shown_is_counted():
    """Streams that are not started, that there is no room for, or that ended before anybody looked."""
    _, tally, _, row = drawn(look(told(state="connecting", started_for=None, state_for=None)), 80)
    assert "1 not started" in tally
    assert "not started" in row
    assert "connecting" not in tally + row
    rows = [told(f"n{number:02}", number=number) for number in range(20)]
    lines = drawn(look(*rows, told("ill", "error", number=99), streams=30_000), 80, 10)
    assert len(lines) == 13
    assert lines[1].startswith("30,000 streams  1 error  20 connected")
    assert lines[3].startswith("ill")
    lines = drawn(look(told(), attached=5, failed=2), 80, 9, "held\x1b up")
    assert "gave up 2 times  4 gone" in lines[1]
    assert lines[0].rstrip() == "held\\x1b up"  # trouble takes the place of the first line


@pytest.mark.parametrize(
    "hostile,shown",
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb", "a b"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\ud800", "\\ud800"),
        ("[bold]x", "[bold]x"),
    ],
)
def test_names_cannot_harm_a_terminal(hostile, shown):
    """Control characters, marks of direction and line ends are written out, and nothing is markup."""
    row = told(hostile, "error", reason=hostile, last_error=hostile)
    lines = drawn(look(row, program=hostile), 250)
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert shown in lines[0]
    assert lines[3].count(shown) >= 3
    "".join(lines).encode()


def test_figures():
    """Ages: six characters at most, never sixty seconds; amounts: five, and no fraction of a small count."""
    ages = {None: "-", -0.1: "0.0s", 9.94: "9.9s", 9.96: "10s", 59.4: "59s", 59.6: "1m00s", 3599.4: "59m59s"}
    ages |= {3600: "1h00m", 86_399: "23h59m", 86_400: "1d00h", 86_400 * 99: "99d00h"}
    rates = {None: "-", 0.0: "0", 7.0: "7.0", 99.96: "100", 999.6: "1.0k", 12_345.0: "12.3k", 5e9: "5.0G"}
    counts = {7: "7", 999: "999", 1000: "1.0k", 999_999: "1.0M"}
    rows = [(3, told(eventless_for=seconds), text) for seconds, text in ages.items()]
    rows += [(5, told(events_per_second=rate), text) for rate, text in rates.items()]
    rows += [(6, told(stats={"reconnects": count}), text) for count, text in counts.items()]
    for column, row, text in rows:
        assert drawn(look(row), 80)[3].split()[column] == text


@pytest.mark.e2e
def test_on_a_terminal(screen):
    """It draws on the other screen, fills a wider terminal, and gives it back as it was at Ctrl-C."""
    with program("prices", "\x1b]0;title\x07") as (_, path):
        shown = screen("top", path, "--interval", "0.2")
        shown.wait_for("events/s")
        assert b"\x1b[?1049h" in shown.written
        assert b"\x1b]0;" not in shown.written
        assert b"\\x1b]0;" in shown.written
        assert b"STALLS" not in shown.written
        shown.resize(140)
        shown.wait_for("STALLS")
        shown.press("\x03")
        assert shown.end() == (Exit.INTERRUPTED, True)
        once = screen("top", path, "--once", "--interval", "0.1")
        assert once.end() == (Exit.ENDED, True)
    assert shown.written.rstrip().endswith((b"\x1b[?1049l", b"\x1b[?25h"))
    assert "prices" in once.text
    assert "…" not in once.text


@pytest.mark.e2e
def test_sigterm_gives_the_terminal_back(screen):
    """Its ordinary screen, and its cursor."""
    with program("prices") as (_, path):
        shown = screen("top", path, "--interval", "0.2")
        shown.wait_for("events/s")
        shown.process.terminate()
        assert shown.end() == (Exit.TERMINATED, True)
    assert shown.written.rstrip().endswith((b"\x1b[?1049l", b"\x1b[?25h"))


@pytest.mark.e2e
def test_letters_that_the_terminal_has_not(start):
    """Bad input: a name in Chinese, in a locale of ASCII alone."""
    with program("\u4e2d") as (_, path):
        done = finished(start("top", path, "--once", env={**os.environ, "PYTHONIOENCODING": "ascii"}))
    assert (done.code, done.err) == (Exit.ENDED, "")
    assert "\\u4e2d" in done.out


@pytest.mark.e2e
def test_the_program_ends_under_the_terminal(screen):
    """The last picture stays on the ordinary screen, and why it is the last."""
    with program("prices") as (_, path):
        shown = screen("top", path, "--interval", "0.2")
        shown.wait_for("events/s")
    shown.wait_for("answers no more: it has ended")
    assert shown.end() == (Exit.ENDED, True)
    assert b"prices" in shown.written.rpartition(b"\x1b[?1049l")[2]
