"""`fault`: what is accepted, and the proxy as a process, from its first line to its certain end."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest

from resilient_sse.cli.arguments import parse
from resilient_sse.cli.fault.arguments import FaultOptions, Flap, Handoff
from resilient_sse.testing.proxy import TOXICS
from tests.docs.pages import table, text_of

PATIENCE = 20
TARGET = ("--target", "127.0.0.1:9")


def options(*arguments):
    """Parse."""
    return parse(["fault", *arguments])


def test_defaults():
    """A target is all that is needed."""
    assert options(*TARGET) == FaultOptions(target=("127.0.0.1", 9))


def test_everything():
    """R46, R51, P25: every option arrives where it belongs."""
    given = options(
        *("--target", "[::1]:8000", "--listen", "0.0.0.0:9000", "--profile", "4g", "--seed", "7"),
        *("--toxic", "reset:after=5", "--toxic", "loss:share=0.1", "--at", "5=black-hole", "--at", "4.5=3g"),
        *("--flap", "3,1/2/4,5", "--after", "2", "--json", "--stdin"),
    )
    assert given == FaultOptions(
        target=("::1", 8000),
        listen=("0.0.0.0", 9000),
        profile="4g",
        toxics=("reset:after=5", "loss:share=0.1"),
        moments=((5.0, "black-hole"), (4.5, "3g")),
        flap=Flap(downs=(1.0, 2.0, 4.0), up=5.0),
        after=2.0,
        seed=7,
        json=True,
        stdin=True,
    )
    assert options(*TARGET, "--flap", "2,1,0").flap == Flap(downs=(1.0, 1.0), up=0.0)
    assert options(*TARGET, "--handoff", "wifi,4g,0.5").handoff == Handoff(before="wifi", after="4g", gap=0.5)


@pytest.mark.parametrize(
    "arguments,complaint",
    [
        ([], "--target"),
        (["--target", "8000"], "'8000' is not HOST:PORT, such as 127.0.0.1:8000"),
        (["--target", "http://host:80/"], "is not HOST:PORT"),
        (["--target", "host:65536"], "is not HOST:PORT"),
        (["--target", ":80"], "is not HOST:PORT"),
        ([*TARGET, "--at", "5:flow"], "'5:flow' is not SECONDS=ACTION, such as 5=black-hole"),
        ([*TARGET, "--at", "soon=flow"], "'soon' is not a number of seconds, 0 or more"),
        ([*TARGET, "--at=-1=flow"], "is not a number of seconds"),
        ([*TARGET, "--flap", "3,2"], "'3,2' is not TIMES,DOWN,UP, such as 3,2,5 or 3,1/2/4,5"),
        ([*TARGET, "--flap", "0,1,1"], "is not TIMES,DOWN,UP"),
        ([*TARGET, "--flap", "3,1/2,1"], "is not TIMES,DOWN,UP"),
        ([*TARGET, "--flap", "x,1,1"], "is not TIMES,DOWN,UP"),
        ([*TARGET, "--flap", "99999999999,1,1"], "is more than 10000 times"),
        ([*TARGET, "--flap", "3,nan,1"], "'nan' is not a number of seconds"),
        ([*TARGET, "--handoff", "wifi,4g"], "'wifi,4g' is not FROM,TO,GAP, such as wifi,4g,0.5"),
        ([*TARGET, "--handoff", "wifi,4g,-1"], "is not a number of seconds"),
        ([*TARGET, "--flap", "1,1,1", "--handoff", "wifi,4g,1"], "not allowed with"),
        (["--target", "host:0"], "'host:0' names no port; give the one that the server listens on"),
        ([*TARGET, "--seed", "x"], "'x' is not a whole number, such as 7"),
        ([*TARGET, "--after", "1"], "--after tells when --flap or --handoff begins; give one of them"),
        (
            [*TARGET, "--profile", "4g", "--handoff", "wifi,4g,1"],
            "--profile and the first of --handoff both name the line; leave --profile out",
        ),
        ([*TARGET, "--after", "inf"], "'inf' is not a number of seconds"),
        ([*TARGET, "--profile", "7g"], "unknown profile '7g'; choose one of slow-3g, 3g"),
        ([*TARGET, "--handoff", "wifi,6g,1"], "unknown profile '6g'"),
        ([*TARGET, "--handoff", "6g,wifi,1"], "unknown profile '6g'"),
        ([*TARGET, "--toxic", "rain"], "unknown toxic 'rain'; choose one of latency"),
        ([*TARGET, "--toxic", "bandwidth:kbps=0"], "kbps must be a number of kbps above 0"),
        ([*TARGET, "--at", "1=explode"], "unknown action 'explode'; choose one of"),
        (["--target", "no host:80"], "the host 'no host' is unknown; give an address"),
        ([*TARGET, "--listen", "192.0.2.1:0"], "cannot listen on 192.0.2.1"),
    ],
)
def test_nonsense_is_one_line_that_names_the_fix(run, arguments, complaint):
    """Bad input: unknown names, impossible figures and addresses end with 2 and one line."""
    done = run("fault", *arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert done.err.count("\n") == 1
    assert "make a Profile" not in done.err


def test_an_occupied_port_is_named(run):
    """Bad input: the line says which port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("fault", *TARGET, "--listen", f"127.0.0.1:{port}")
    assert done.code == 2
    assert re.search(
        rf"port {port} of 127.0.0.1 cannot be used .*choose another, or 0 for a free one\n$", done.err
    )


def test_the_reference_lists_the_options(run):
    """The page has every option that the help has, and every toxic with its values and defaults."""
    done = run("fault", "--help")
    listed = {
        re.match(r"`(--\w+)", row[0])[1] for row in table(text_of("lab/fault-proxy.md"), "option", "meaning")
    }
    assert listed == set(re.findall(r"--\w+", done.out.partition("options:")[2])) - {"--help"}
    rows = table(text_of("lab/fault-proxy.md"), "toxic", "values, defaults in brackets")
    assert [name for name, _ in rows] == [f"`{name}`" for name in TOXICS]
    for (_, values), kind in zip(rows, TOXICS.values(), strict=True):
        assert re.findall(r"`(\w+)`", values) == [field.name for field in fields(kind)]


class Upstream:
    """Echoes on every connection."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            self._threads.append(threading.Thread(target=self._echo, args=(sock,)))
            self._threads[-1].start()

    def _echo(self, sock):
        with sock, suppress(OSError):
            while data := sock.recv(65536):
                sock.sendall(data)

    def stop(self):
        """Close the port, and wait for the threads."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.fixture
def upstream():
    """Give a server that echoes."""
    server = Upstream()
    yield server
    server.stop()


class Fault:
    """The command as a process; its port is known once it is ready."""

    def __init__(self, start, upstream, *arguments):
        self.process = start(
            *("fault", "--target", f"127.0.0.1:{upstream.port}", "--json", *arguments), stdin=subprocess.PIPE
        )
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.ready = json.loads(line)
        self.port = self.ready["port"]

    def connect(self):
        """Connect to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, text=b"hello"):
        """Have something echoed."""
        with self.connect() as sock:
            sock.sendall(text)
            return sock.recv(65536)

    def say(self, line):
        """Give a line to its standard input."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self, how=None):
        """End it, and return its exit code, its counters and what it complained of."""
        if how is None:
            self.process.stdin.close()
            self.process.stdin = None
        else:
            self.process.send_signal(how)
            self.process.wait(
                PATIENCE
            )  # its standard input stays open as long: its end would be another reason
        out, err = self.process.communicate(timeout=PATIENCE)
        *done, last = [json.loads(line) for line in out.splitlines()]
        self.done = [line["done"] for line in done]
        counters = last["counters"]
        return self.process.returncode, counters, err.decode()

    def is_listening(self):
        """Tell whether the system knows a listener on its port, whoever it is."""
        port = f":{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        return any(line.split()[1].endswith(port) and line.split()[3] == "0A" for line in lines)


def soon(condition):
    """Wait until it holds, within reason."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.e2e
@pytest.mark.parametrize("how,code", [(None, 0), (signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_serves_until_it_is_told_to_stop(start, upstream, how, code):
    """Ready is one JSON line with the port; at the end no port is open, no connection, no process."""
    fault = Fault(start, upstream, "--stdin", "--profile", "wifi", "--seed", "7")
    assert fault.ready == {
        "host": "127.0.0.1",
        "port": fault.port,
        "target": f"127.0.0.1:{upstream.port}",
        "profile": "wifi",
        "seed": 7,
    }
    assert fault.ask() == b"hello"
    with fault.connect() as held:
        held.sendall(b"a")
        assert held.recv(1) == b"a"
        assert fault.is_listening()
        exit_code, counters, complaints = fault.end(how)
        assert held.recv(1) == b""
    assert (exit_code, complaints) == (code, "")
    assert (counters["accepted"], counters["bytes_down"], counters["live"]) == (2, 6, 0)
    assert not fault.is_listening()


@pytest.mark.e2e
def test_a_killed_process_leaves_no_port(start, upstream):
    """A proxy that dies leaves nothing behind."""
    fault = Fault(start, upstream)
    fault.process.kill()
    fault.process.wait(PATIENCE)
    assert not fault.is_listening()


@pytest.mark.e2e
def test_without_stdin_its_end_means_nothing(start, upstream):
    """Only `--stdin` binds the process to its standard input."""
    fault = Fault(start, upstream)
    fault.process.stdin.close()
    fault.process.stdin = None
    time.sleep(0.2)
    assert fault.ask() == b"hello"
    assert fault.end(signal.SIGTERM)[0] == 0


@pytest.mark.e2e
def test_lines_of_standard_input_are_done_at_once(start, upstream):
    """P24: a person, or a script, breaks the network by hand; what is not understood changes nothing."""
    fault = Fault(start, upstream, "--stdin")
    with fault.connect() as held:
        held.sendall(b"a")
        assert held.recv(1) == b"a"
        fault.say("refuse")
        soon(lambda: not fault.is_listening())
        fault.say("explode")
        fault.say("reset")
        with pytest.raises(ConnectionResetError):
            held.recv(1)
    fault.say("accept")
    soon(fault.is_listening)
    assert fault.ask() == b"hello"
    fault.process.stdin.write(b"burst")  # the last line needs no end
    code, counters, complaints = fault.end()
    assert (code, counters["resets"]) == (0, 1)
    assert fault.done == ["refuse", "reset", "accept"]
    assert re.findall(r"unknown action '(\w+)'; choose one of refuse, accept", complaints) == [
        "explode",
        "burst",
    ]
    assert complaints.count("\n") == 2


@pytest.mark.e2e
@pytest.mark.parametrize(
    "arguments",
    [
        ("--handoff", "wifi,4g,0.5", "--after", "0.5"),
        ("--flap", "1,0.5,1", "--after", "0.5"),
        ("--at", "0.5=refuse", "--at", "0.5=reset", "--at", "1=accept"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_network_goes_and_comes_back(start, upstream, arguments):
    """R46, R51: connections are reset, new ones refused, and after a while all is well again."""
    fault = Fault(start, upstream, *arguments)
    assert fault.ready["profile"] == ("wifi" if "--handoff" in arguments else "clean")
    with fault.connect() as held:
        held.sendall(b"a")
        assert held.recv(1) == b"a"
        with pytest.raises(ConnectionResetError):
            held.recv(1)
    soon(fault.is_listening)
    assert fault.ask() == b"hello"
    code, counters, complaints = fault.end(signal.SIGTERM)
    assert (code, complaints) == (0, "")
    assert counters["resets"] == 1


@pytest.mark.e2e
def test_toxics_are_in_force_from_the_start(start, upstream):
    """P25: what `--toxic` says befalls the first connection."""
    fault = Fault(start, upstream, "--toxic", "limit-bytes:after=3,times=1", "--toxic", "slicer:size=2")
    with fault.connect() as sock:
        sock.sendall(b"abcdef")
        got = b""
        while more := sock.recv(100):
            got += more
    assert got == b"abc"
    assert fault.end(signal.SIGTERM)[1]["bytes_down"] == 3


@pytest.mark.e2e
def test_people_get_words(start, upstream):
    """Without `--json` the same is said in words."""
    target = f"127.0.0.1:{upstream.port}"
    process = start("fault", "--target", target, "--seed", "7", "--stdin", stdin=subprocess.PIPE)
    assert re.fullmatch(
        rf"listening on 127.0.0.1 port \d+ for 127.0.0.1 port {upstream.port}: profile clean, seed 7\n",
        process.stdout.readline().decode(),
    )
    process.stdin.write(b"loss:share=0.5\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"done: loss:share=0.5\n"
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)  # its standard input stays open as long
    out, err = process.communicate(timeout=PATIENCE)
    assert out.decode().startswith("accepted 0, refused 0, resets 0, bytes_down 0")
    assert (process.returncode, err) == (130, b"")
