"""`resilient-sse top`: what it shows of another process, and that nothing in it harms a terminal."""

import argparse
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from resilient_sse.cli.exits import Exit
from resilient_sse.cli.top.arguments import SORTS, TopOptions, add_top, top_options
from resilient_sse.cli.top.ask import HeldUpError, UnreachableError, ask, running, where
from resilient_sse.cli.top.command import run_top
from resilient_sse.cli.top.snapshot import NotAConsoleError, parse_snapshot, with_rates
from resilient_sse.cli.top.table import COLUMNS, picture, sort_rows
from resilient_sse.cli.top.words import age, amount, clean, fit, percent, width_of
from resilient_sse.monitoring.console import places

END = 20

fcntl = pytest.importorskip("fcntl")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

PROGRAM = """\
import sys, anyio
from resilient_sse import ResilientStream
from resilient_sse.monitoring.console import Console

async def main():
    console = Console()
    streams = [ResilientStream("http://127.0.0.1:9/", observers=[console.named(name)]) for name in sys.argv[1:]]
    async with console:
        print(console.address, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)

anyio.run(main)
"""

COMMAND = """\
import argparse, sys
from resilient_sse.cli.top.arguments import add_top, top_options
from resilient_sse.cli.top.command import run_top
parser = argparse.ArgumentParser()
add_top(parser)
sys.exit(run_top(top_options(parser.parse_args())))
"""


@pytest.fixture(autouse=True)
def home(monkeypatch):
    """Give a runtime directory in which nobody else listens, with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="top-") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory) / "resilient-sse"


@pytest.fixture
def program():
    """Give a function that starts a program with a console, and returns it and the path; all are ended."""
    started = []

    def start(*names):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        return process, process.stdout.readline().decode().strip()

    yield start
    for process in started:
        process.kill()
        process.wait(END)
        process.stdin.close()
        process.stdout.close()


def parsed(*arguments):
    """Return the options, as the command line makes them."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_top(parser)
    return top_options(parser.parse_args(arguments))


def told(name="prices", state="connected", **other):
    """Write a stream as a console does."""
    stats = {"received": 0, "bytes_received": 0, "lost": 0, "reconnects": 0, **other.pop("stats", {})}
    facts = {
        "number": 1,
        "name": name,
        "state": state,
        "state_for": 1.0,
        "started_for": 2.0,
        "silent_for": 0.5,
        "eventless_for": 0.5,
        "lag": None,
        "reason": "opened",
        "attempt": 0,
        "next_attempt_in": None,
        "last_error": None,
        "last_recovery": None,
        "completion": None,
    }
    return {**facts, **other, "stats": stats}


def answer(*rows, **other):
    """Write what a console answers, as lines."""
    head = {
        "console": 1,
        "pid": 7,
        "program": "app.py",
        "up": 60.0,
        "at": 100.0,
        "streams": len(rows),
        "attached": len(rows),
        "failed": 0,
        **other,
    }
    return [json.dumps(each) for each in (head, *rows, {"end": len(rows)})]


def look(*rows, **other):
    """Make a snapshot."""
    return parse_snapshot(answer(*rows, **other))


def drawn(snapshot, **options):
    """Return the lines of the picture as text."""
    return ["".join(text for text, _ in line) for line in picture(snapshot, **options)]


def test_addresses():
    """A number is a process, a path a socket, and the rest a host with a port; anything else is refused."""
    assert parsed().address is None
    assert parsed("123").address == 123
    assert parsed("127.0.0.1:80").address == ("127.0.0.1", 80)
    assert parsed("[::1]:80").address == ("::1", 80)
    assert parsed("./app:80").address == "./app:80"
    assert parsed("app.sock").address == "app.sock"
    with pytest.raises(ValueError, match="one program at a time"):
        parsed("1", "2")
    for wrong in ("0", "name", "host:", ":80", "host:x", "host:65536"):
        with pytest.raises(argparse.ArgumentError):
            parsed(wrong)


def test_other_arguments():
    """An interval that would hold the program up is refused; the defaults are those that help tells."""
    assert parsed("1") == TopOptions(address=1, interval=1.0, sort="trouble")
    assert parsed("1", "--interval", "0.1", "--once", "--json", "--plain", "--sort", "lag") == TopOptions(
        address=1, interval=0.1, sort="lag", once=True, json=True, plain=True
    )
    for wrong in ("0", "0.09", "3601", "nan", "soon", "-1"):
        with pytest.raises(argparse.ArgumentError):
            parsed("1", f"--interval={wrong}")


def test_the_arguments_import_nothing_heavy():
    """`--help` needs neither sockets nor rich nor the HTTP client."""
    code = """
        import sys
        before = {*sys.modules}  # an environment may have its own reasons to import things at the start
        import resilient_sse.cli.top.arguments
        print({"rich", "socket", "httpx"} & ({*sys.modules} - before))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"set()\n"


def test_rates():
    """What came in between, by the other process's clock; a stream that is new has none yet."""
    before = look(told(stats={"received": 10, "bytes_received": 1000}), at=100.0)
    new = told("new", number=2, stats={"received": 5})
    now = look(told(stats={"received": 30, "bytes_received": 5000}), new, at=102.0)
    old, fresh = with_rates(now, before).rows
    assert (old.events_per_second, old.bytes_per_second) == (10.0, 2000.0)
    assert fresh.events_per_second is None
    for other in (None, look(told(), at=102.0), look(told(), at=100.0, pid=8)):
        assert with_rates(now, other).rows[0].events_per_second is None


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["HTTP/1.1 400 Bad Request"],
        ["[1]"],
        ["{}"],
        answer(console=2),
        answer()[:-1],
        answer(pid="seven"),
        answer(told(name=None)),
        answer(told(state="\x1b[2J")),
        answer(told(attempt="x")),
        answer(told(lag="x")),
        answer(told(stats={"lost": "x"})),
        answer({"number": 1}),
        ["[" * 100_000],
    ],
    ids=range(14),
)
def test_what_is_no_answer(lines):
    """Whatever else answers is found out, never drawn."""
    with pytest.raises(NotAConsoleError):
        parse_snapshot(lines)


def test_a_console_of_later_days():
    """Figures that this version does not know are passed over, and those that are missing count as none."""
    row = told(stats={"something_new": 3})
    del row["stats"]["lost"]
    assert look({**row, "also": 1}).rows[0].count("lost") == 0


def test_trouble_comes_first():
    """What has given up, then what reconnects, the longest at it first; names decide between equals."""
    rows = look(
        told("well"),
        told("closed", "closed"),
        told("tries", "reconnecting", attempt=1),
        told("tries long", "reconnecting", attempt=9),
        told("silent", "waiting"),
        told("dead", "error", attempt=5),
        told("also well"),
    ).rows
    assert [row.name for row in sort_rows(rows, "trouble")] == [
        "dead",
        "tries long",
        "tries",
        "silent",
        "also well",
        "well",
        "closed",
    ]


@pytest.mark.parametrize("key", SORTS)
def test_every_order(key):
    """The worst comes first, in whatever respect."""
    good = told("b", number=1, eventless_for=1.0, lag=0.1, stats={"lost": 0, "reconnects": 0, "received": 1})
    bad = told(
        "a",
        "error",
        number=2,
        eventless_for=9.0,
        lag=5.0,
        stats={"lost": 3, "reconnects": 4, "received": 99},
    )
    never = told("c", number=3, eventless_for=None)
    before = look(*(told(number=number) for number in (1, 2, 3)), at=99.0)
    order = [row.name for row in sort_rows(with_rates(look(good, bad, never), before).rows, key)]
    assert order == (["c", "a", "b"] if key == "age" else ["a", "b", "c"])


@pytest.mark.parametrize("width", [1, 10, 20, 40, 79, 80, 100, 140, 250])
def test_no_line_is_wider_than_the_terminal(width):
    """From absurdly narrow to wide; the state goes last."""
    long = told("日本語" * 30, "reconnecting", attempt=3, last_error="E" * 99, reason="server")
    lines = drawn(look(long, told(lag=1.0)), width=width)
    assert max(map(width_of, lines)) <= width
    assert ("STATE" in lines[2]) is (width > 24)


def test_80_columns_and_140():
    """At 80 there is what matters, at 140 also the lag and why."""
    narrow = drawn(look(told()), width=80)[2].split()
    assert narrow == ["NAME", "STATE", "FOR", "TRY", "EVENT", "BYTE", "EV/S", "RECON", "LOST", "DUPS"]
    *_, titles, row = drawn(look(told("n" * 28)), width=140)
    assert row.startswith("n" * 28)
    wide = titles.split()
    assert {*narrow, "LAG", "GAPS", "STALLS", "WHY"} <= {*wide}
    assert {*drawn(look(told()), width=300)[2].split()} == {"NAME", *(column.title for column in COLUMNS)}


def test_what_a_row_says():
    """Each figure stands under its title, and the reason is given where a stream is not well."""
    ill = told(
        "orders",
        "reconnecting",
        attempt=3,
        next_attempt_in=2.0,
        reason="server",
        last_error="BadStatusError 503",
        completion=99.999,
        state_for=75.0,
        silent_for=None,
        lag=0.25,
        stats={"reconnects": 1234, "lost": 2, "gaps": 1, "duplicates": 7, "stalls": 4},
    )
    _, tally, titles, row = drawn(look(ill), width=200)
    places = {title: titles.index(title) + len(title) for title in titles.split()}

    def under(title):
        return row[: places[title]].rsplit(maxsplit=1)[-1]

    assert row.startswith("orders ")
    assert row[titles.index("STATE") :].startswith("reconnecting ")
    assert row.rstrip().endswith("server: BadStatusError 503")
    expected = {
        "FOR": "1m15s",
        "TRY": "3",
        "NEXT": "2.0s",
        "EVENT": "0.5s",
        "BYTE": "-",
        "LAG": "0.2s",
        "EV/S": "-",
        "RECON": "1.2k",
        "LOST": "2",
        "GAPS": "1",
        "DUPS": "7",
        "STALLS": "4",
        "DONE": "99.99%",
    }
    assert {title: under(title) for title in expected} == expected
    assert tally == "1 stream  1 reconnecting  by trouble"
    assert drawn(look(told(reason="opened", last_error="E")), width=200)[3].rstrip().endswith("-")


def test_streams_that_share_a_name():
    """Each has its number behind it, however long the name and narrow the terminal; others have none."""
    long = "n" * 50
    rows = [told(long, number=7), told(long, number=12), told("a", number=3), told("a", number=4), told("b")]
    for width in (80, 140):
        lines = [line.split()[:2] for line in drawn(look(*rows), width=width)[3:]]
        assert [name.rstrip("n…") for name, _ in lines] == ["a", "a", "b", "", ""]
        assert [number for _, number in lines] == ["#3", "#4", "connected", "#7", "#12"]
    for width in range(1, 20):
        assert max(map(width_of, drawn(look(*rows), width=width))) <= width


def test_a_stream_that_nobody_iterates():
    """It is said to be not started, not to be connecting for ever."""
    lines = drawn(look(told(state="connecting", started_for=None, state_for=None)), width=80)
    assert "1 not started" in lines[1]
    assert "not started" in lines[3]
    assert "connecting" not in "".join(lines)


def test_more_streams_than_lines():
    """The worst are shown, and how many are not is said; also of those that the console left out."""
    rows = [told(f"n{number:02}", number=number) for number in range(20)]
    lines = drawn(look(*rows, told("ill", "error", number=99)), width=80, height=10)
    assert len(lines) == 10
    assert lines[3].startswith("ill")
    assert lines[-1].rstrip() == "and 15 more"
    assert len(drawn(look(*rows), width=80)) == 23
    assert drawn(look(told(), streams=30_000), width=80)[-1].rstrip() == "and 29999 more"


def test_what_is_gone_and_what_gave_up():
    """Streams that ended before anybody looked are counted above."""
    assert "gave up 2 times  4 gone" in drawn(look(told(), attached=5, failed=2), width=80)[1]


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "\x9b31m", "\x07", "a\nb", "\u202eabc", "\u2028", "\ud800", "\t"]
)
def test_names_cannot_harm_a_terminal(hostile):
    """Control characters, marks of direction and line ends are written out, wherever text is shown."""
    row = told(hostile, "error", reason=hostile, last_error=hostile)
    lines = drawn(look(row, program=hostile), width=250)
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert "\\" in lines[0]
    assert "\\" in lines[3]
    "".join(lines).encode()


@pytest.mark.parametrize(
    "seconds,text",
    [
        (None, "-"),
        (-0.1, "0.0s"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599.4, "59m59s"),
        (3600, "1h00m"),
        (86_399, "23h59m"),
        (86_400, "1d00h"),
        (86_400 * 99, "99d00h"),
    ],
)
def test_ages(seconds, text):
    """Six characters at most, and never sixty seconds."""
    assert age(seconds) == text


@pytest.mark.parametrize(
    "value,text",
    [
        (None, "-"),
        (0, "0"),
        (0.0, "0"),
        (7, "7"),
        (7.0, "7.0"),
        (99.96, "100"),
        (999, "999"),
        (999.6, "1.0k"),
        (1000, "1.0k"),
        (12_345, "12.3k"),
        (999_999, "1.0M"),
        (5 * 10**9, "5.0G"),
    ],
)
def test_amounts(value, text):
    """Five characters at most."""
    assert amount(value) == text


def test_shares():
    """Only what is whole looks whole."""
    assert [percent(value) for value in (None, 100.0, 99.9999, 0.0)] == ["-", "100%", "99.99%", "0.00%"]


def test_words_fit():
    """Wide characters take two cells, combining ones none, and what is cut ends in an ellipsis."""
    assert [fit("abc", 5), fit("abc", 5, right=True), fit("abcdef", 4), fit("abc", 0)] == [
        "abc  ",
        "  abc",
        "abc…",
        "",
    ]
    assert fit("日本語", 4) == "日… "
    assert width_of("e\u0301") == 1
    assert clean("日本 é") == "日本 é"


def test_it_lists_the_programs(program, capfd, home):
    """Without an address: process, program, streams and path; what was killed leaves nothing behind."""
    process, path = program("a", "b")
    dead, left = program("c")
    dead.kill()
    dead.wait(END)
    assert Path(left).exists()
    assert run_top(TopOptions()) == Exit.ENDED
    assert capfd.readouterr().out.split() == [str(process.pid), "-c", "2", "streams", path]
    assert not Path(left).exists()
    assert run_top(TopOptions(json=True)) == Exit.ENDED
    (listed,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert listed == {"pid": process.pid, "path": path, "program": "-c", "streams": 2, "failed": 0}


def test_nothing_to_list(capfd):
    """It is said, with what to do."""
    assert run_top(TopOptions()) == Exit.OTHER
    out, err = capfd.readouterr()
    assert out == ""
    assert "no program of yours has opened a console; see" in err


@pytest.mark.parametrize("by", ["pid", "path"])
def test_once(program, capfd, by):
    """One look of one line a stream, from another process, with rates."""
    process, path = program("\x1b[31mred", "blue")
    address = process.pid if by == "pid" else path
    assert run_top(TopOptions(address=address, once=True, interval=0.1)) == Exit.ENDED
    header, tally, _, *rows = capfd.readouterr().out.splitlines()
    assert header.startswith(f"-c  process {process.pid}  watched for ")
    assert tally == "2 streams  2 not started  0 events/s  by trouble"
    assert [row.split()[0] for row in rows] == ["\\x1b[31mred", "blue"]


def test_json(program, capfd):
    """R213: the same as an object, rates included."""
    process, path = program("a")
    assert run_top(TopOptions(address=path, once=True, json=True, interval=0.1)) == Exit.ENDED
    (line,) = capfd.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["process"]["pid"] == process.pid
    assert told["rows"][0]["events_per_second"] == 0.0
    assert told["rows"][0]["stats"]["received"] == 0


def test_the_program_ends(program, capfd):
    """Looking goes on until then; that it has ended is said, and is no failure."""
    process, path = program("a")
    threading.Timer(1.0, process.stdin.close).start()
    assert run_top(TopOptions(address=path, plain=True, interval=0.1)) == Exit.ENDED
    out, err = capfd.readouterr()
    assert out.count("1 stream  1 not started") >= 2
    assert f"process {process.pid} answers no more: it has ended" in err


@pytest.mark.parametrize("address", [999_999_999, "/nonexistent/x.sock", ("127.0.0.1", 1)], ids=str)
def test_nobody_there(address, capfd):
    """One line says what was tried, and the exit code is not that of success."""
    assert run_top(TopOptions(address=address, once=True)) == Exit.OTHER
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("resilient-sse: error: ")


def test_something_else_is_there(capfd):
    """A server of another kind is recognised as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        assert run_top(TopOptions(address=listener.getsockname(), once=True)) == Exit.OTHER
        thread.join(END)
    assert "a server of HTTP; a console has a port of its own: Console(port)" in capfd.readouterr().err


def test_what_old_servers_of_http_say():
    """Some answer a question that they do not understand without a head."""
    with pytest.raises(NotAConsoleError, match="a server of HTTP"):
        parse_snapshot(["<!DOCTYPE HTML>", "<html>"])
    with pytest.raises(NotAConsoleError, match="is not the console of a program"):
        parse_snapshot(["220 ready"])


def test_a_program_whose_event_loop_is_held_up(program):
    """It listens and does not answer: that is told apart from a program that has ended."""
    process, path = program("a")
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(HeldUpError, match="is its event loop held up"):
            ask(Path(path))
    finally:
        process.send_signal(signal.SIGCONT)
    assert ask(Path(path)).process.streams == 1


def test_an_answer_that_breaks_off():
    """A console that ends, or turns a reader away, is asked again; it is not taken for something else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pieces = ["", "\n".join(answer(told())[:-1]) + "\n"]

        def serve():
            for piece in pieces:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(piece.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        for _ in pieces:
            with pytest.raises(HeldUpError, match="breaks off"):
                ask(listener.getsockname())
        thread.join(END)


def test_a_program_whose_event_loop_is_held_up_is_listed(program, capfd):
    """It is the one that is looked for: nobody says that there is none."""
    process, path = program("a")
    process.send_signal(signal.SIGSTOP)
    try:
        assert run_top(TopOptions()) == Exit.ENDED
        out, err = capfd.readouterr()
        assert run_top(TopOptions(json=True)) == Exit.ENDED
    finally:
        process.send_signal(signal.SIGCONT)
    assert (out.split()[0], err) == (str(process.pid), "")
    assert "does not answer; is its event loop held up?" in out
    assert out.rstrip().endswith(path)
    (listed,) = map(json.loads, capfd.readouterr().out.splitlines())
    trouble = "does not answer; is its event loop held up?"
    assert listed == {"pid": process.pid, "path": path, "trouble": trouble}
    assert Path(path).exists()


def test_a_full_console(program, capfd):
    """Who is turned away is told what that may mean, not of a broken pipe."""
    process, path = program("a")
    idle = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for each in idle:
        each.connect(path)
    try:
        for _ in range(5):  # the console closes before or after the question: both are told alike
            assert run_top(TopOptions(address=process.pid, once=True, interval=0.1)) == Exit.OTHER
            err = capfd.readouterr().err
            assert err.endswith(f"{path} breaks off; is it ending, or are many others looking?\n")
        assert run_top(TopOptions()) == Exit.ENDED
        assert "are many others looking?" in capfd.readouterr().out
    finally:
        for each in idle:
            each.close()


@pytest.mark.parametrize("fault", [BrokenPipeError(32, "Broken pipe"), ConnectionResetError(104, "reset")])
def test_a_console_that_closes_before_the_question(monkeypatch, fault):
    """Whatever the kernel calls it."""

    def refuse(address):
        raise fault

    monkeypatch.setattr("resilient_sse.cli.top.ask._connected", refuse)
    with pytest.raises(HeldUpError, match="x breaks off; is it ending, or are many others looking"):
        ask(Path("x"))


def test_a_queue_that_is_full(home):
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
        with pytest.raises(HeldUpError, match="is its event loop held up"):
            ask(path)
        assert [found.pid for found in running()] == [999999999]
        assert places.answers(path)
    assert path.exists()


def test_several_consoles_of_a_process(home):
    """Which one is meant must be said."""
    home.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(str(home / "7.sock"))
        second.bind(str(home / "7-2.sock"))
        with pytest.raises(UnreachableError, match=r"choose one: .*7\.sock, .*7-2\.sock"):
            where(7)


def test_a_directory_that_cannot_be_trusted(home, capfd):
    """Somebody else's sockets are not asked."""
    home.mkdir()
    home.chmod(0o777)
    assert run_top(TopOptions(address=7)) == Exit.OTHER
    assert "must be a directory of yours" in capfd.readouterr().err


class Screen:
    """The command on a terminal of its own."""

    def __init__(self, *arguments, columns=80, lines=24, code=COMMAND):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        environment = {**os.environ, "TERM": "xterm-256color"}
        self.theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - for Ctrl-C; no threads
        )
        self.written = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        try:
            while data := os.read(self.ours, 65536):
                self.written += data
        except OSError:
            pass

    def wait_for(self, text, after=0):
        """Wait until *text* was written, movements and colours left out."""
        deadline = time.monotonic() + END
        while text not in re.sub(
            r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written[after:].decode(errors="replace")
        ):
            assert time.monotonic() < deadline, self.written
            time.sleep(0.02)

    def press(self, key):
        """Press a key."""
        os.write(self.ours, key.encode())

    def end(self):
        """Wait for the end; return the exit code, and whether the terminal is as it was."""
        code = self.process.wait(END)
        return code, termios.tcgetattr(self.theirs) == self.before

    def close(self):
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait(END)
        os.close(self.theirs)
        self._reader.join(END)
        os.close(self.ours)


@pytest.fixture
def screen():
    """Give a function that runs the command on a terminal."""
    screens = []

    def start(*arguments, **options):
        screens.append(Screen(*arguments, **options))
        return screens[-1]

    yield start
    for each in screens:
        each.close()


@pytest.mark.e2e
def test_on_a_terminal(program, screen):
    """It draws on the other screen, obeys its keys, and gives the terminal back as it was."""
    process, _ = program("prices", "\x1b]0;title\x07")
    shown = screen(str(process.pid), "--interval", "0.2")
    shown.wait_for("by trouble")
    shown.wait_for("events/s")
    assert b"\x1b[?1049h" in shown.written
    assert b"\x1b]0;" not in shown.written
    assert b"\\x1b]0;" in shown.written
    shown.press("s")
    shown.wait_for("by name")
    shown.press("q")
    assert shown.end() == (Exit.ENDED, True)
    assert shown.written.rstrip().endswith((b"\x1b[?1049l", b"\x1b[?25h"))
    assert ask(where(process.pid)).process.streams == 2


@pytest.mark.e2e
def test_ctrl_c_gives_the_terminal_back(program, screen):
    """As `q`; the exit code is the business of the command around it."""
    process, _ = program("prices")
    shown = screen(str(process.pid))
    shown.wait_for("by trouble")
    shown.press("\x03")
    code, same = shown.end()
    assert same
    assert code == -signal.SIGINT


@pytest.mark.e2e
@pytest.mark.slow
def test_a_wider_terminal_is_filled(program, screen):
    """After a change of size the picture follows."""
    process, _ = program("prices")
    shown = screen(str(process.pid), columns=80)
    shown.wait_for("DUPS")
    assert b"STALLS" not in shown.written
    fcntl.ioctl(shown.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 140, 0, 0))
    shown.wait_for("STALLS")
    shown.press("q")
    assert shown.end()[0] == Exit.ENDED


@pytest.mark.e2e
def test_the_program_ends_under_the_terminal(program, screen):
    """The last picture stays on the ordinary screen, and why it is the last."""
    process, _ = program("prices")
    shown = screen(str(process.pid), "--interval", "0.2")
    shown.wait_for("by trouble")
    process.stdin.close()
    shown.wait_for("answers no more: it has ended")
    assert shown.end() == (Exit.ENDED, True)
    assert b"prices" in shown.written.rpartition(b"\x1b[?1049l")[2]


@pytest.mark.e2e
def test_the_terminal_without_rich(program, screen):
    """Then plain lines are printed."""
    process, _ = program("prices")
    code = f"import sys; sys.modules['rich.console'] = None\n{COMMAND}"
    shown = screen(str(process.pid), "--interval", "0.1", code=code)
    shown.wait_for("events/s")
    assert b"\x1b" not in shown.written
    process.stdin.close()
    assert shown.end() == (Exit.ENDED, True)
