"""`fault`: what is accepted, and the proxy as a command, from its first line to its certain end."""

import json
import re
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from resilient_sse.testing.proxy import TOXICS
from tests.cli.parsing import parse
from tests.docs.pages import table, text_of

PATIENCE = 20
TARGET = ("--target", "127.0.0.1:9")


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--target", "no host:80"], "the host 'no host' is unknown; give an address"),
        ([*TARGET, "--listen", "192.0.2.1:0"], "cannot listen on 192.0.2.1"),
    ],
)
def test_addresses_that_cannot_be_used(run, arguments, words):
    """Bad input: the same for what the machine does not know or have."""
    done = run("fault", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1


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
    assert listed == set(re.findall(r"^  (--\w+)", done.out, re.MULTILINE)) - {"--debug"}
    rows = table(text_of("lab/fault-proxy.md"), "toxic", "values, defaults in brackets")
    assert [name for name, _ in rows] == [f"`{name}`" for name in TOXICS]
    for (_, values), kind in zip(rows, TOXICS.values(), strict=True):
        assert re.findall(r"`(\w+)`", values) == [field.name for field in fields(kind)]


class Echo(BaseRequestHandler):
    """Sends back what comes."""

    def handle(self):
        self.request.settimeout(PATIENCE)
        with suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


@pytest.fixture
def upstream():
    """Give the port of a server that echoes; it waits for its threads."""
    with ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(PATIENCE)


class Fault:
    """The command as its client sees it; its port is known once it is ready."""

    def __init__(self, command):
        self.command = command
        self.ready = json.loads(command.line())
        self.port = self.ready["port"]

    def connect(self):
        """Connect to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, text=b"hello"):
        """Have something echoed."""
        with self.connect() as sock:
            sock.sendall(text)
            return sock.recv(65536)

    def is_listening(self):
        """Tell whether the system knows a listener on its port, whoever it is."""
        port = f":{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        return any(line.split()[1].endswith(port) and line.split()[3] == "0A" for line in lines)


@pytest.fixture
def fault(play, upstream):
    """Give a function that runs the command and its client; it returns what both of them know at the end."""

    def fault(client, *arguments, end=signal.SIGTERM):
        faults = []

        def use(command):
            faults.append(Fault(command))
            client(faults[0])
            if end is None:
                command.end_stdin()
            else:
                command.signal(end)

        done = play(use, "fault", "--target", f"127.0.0.1:{upstream}", "--json", *arguments)
        _, *told, last = done.objects
        assert not faults[0].is_listening()
        return done, last["counters"], [line["done"] for line in told]

    return fault


def soon(condition):
    """Wait until it holds, within reason."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.e2e
@pytest.mark.parametrize("end,code", [(None, 0), (signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_serves_until_it_is_told_to_stop(fault, upstream, end, code):
    """Ready is one JSON line with the port; at the end no port is open, and no connection."""

    def use(fault):
        assert fault.ready == {
            "host": "127.0.0.1",
            "port": fault.port,
            "target": f"127.0.0.1:{upstream}",
            "profile": "wifi",
            "seed": 7,
        }
        assert fault.ask() == b"hello"
        held = fault.connect()
        held.sendall(b"a")
        assert held.recv(1) == b"a"
        assert fault.is_listening()
        kept.append(held)

    kept = []
    done, counters, _ = fault(use, "--stdin", "--profile", "wifi", "--seed", "7", end=end)
    with kept[0] as held:
        assert held.recv(1) == b""
    assert (done.code, done.err) == (code, "")
    assert (counters["accepted"], counters["bytes_down"], counters["live"]) == (2, 6, 0)


@pytest.mark.e2e
def test_without_stdin_its_end_means_nothing(fault):
    """Only `--stdin` binds the command to its standard input."""

    def use(fault):
        fault.command.end_stdin()
        time.sleep(0.2)
        assert fault.ask() == b"hello"

    assert fault(use)[0].code == 0


@pytest.mark.e2e
def test_lines_of_standard_input_are_done_at_once(fault):
    """P24: a person, or a script, breaks the network by hand; what is not understood changes nothing."""

    def use(fault):
        with fault.connect() as held:
            held.sendall(b"a")
            assert held.recv(1) == b"a"
            fault.command.say("refuse\n")
            soon(lambda: not fault.is_listening())
            fault.command.say("explode\nreset\n")
            with pytest.raises(ConnectionResetError):
                held.recv(1)
        fault.command.say("accept\n")
        soon(fault.is_listening)
        assert fault.ask() == b"hello"
        fault.command.say("burst")  # the last line needs no end

    done, counters, told = fault(use, "--stdin", end=None)
    assert (done.code, counters["resets"]) == (0, 1)
    assert told == ["refuse", "reset", "accept"]
    assert re.findall(r"unknown action '(\w+)'; choose one of refuse, accept", done.err) == [
        "explode",
        "burst",
    ]
    assert done.err.count("\n") == 2


@pytest.mark.e2e
def test_the_network_goes_and_comes_back(fault):
    """R46, R51: connections are reset, new ones refused, and after a while all is well again."""

    def use(fault):
        with fault.connect() as held:
            held.sendall(b"a")
            assert held.recv(1) == b"a"
            with pytest.raises(ConnectionResetError):
                held.recv(1)
        soon(fault.is_listening)
        assert fault.ask() == b"hello"

    away = ("--at", "0.5=refuse", "--at", "0.5=reset", "--at", "1=4g", "--at", "1=accept")
    done, counters, told = fault(use, *away)
    assert (done.code, done.err, counters["resets"]) == (0, "", 1)
    assert told == ["refuse", "reset", "4g", "accept"]


@pytest.mark.e2e
def test_toxics_are_in_force_from_the_start(fault):
    """P25: what `--toxic` says befalls the first connection."""

    def use(fault):
        with fault.connect() as sock:
            sock.sendall(b"abcdef")
            while more := sock.recv(100):
                got.append(more)

    got = []
    _, counters, _ = fault(use, "--toxic", "limit-bytes:after=3,times=1", "--toxic", "slicer:size=2")
    assert (b"".join(got), counters["bytes_down"]) == (b"abc", 3)


@pytest.mark.e2e
def test_people_get_words(play, upstream):
    """Without `--json` the same is said in words."""

    def use(command):
        lines.append(command.line())
        command.say("loss:share=0.5\n")
        lines.append(command.line())
        command.signal(signal.SIGINT)

    lines = []
    done = play(use, "fault", "--target", f"127.0.0.1:{upstream}", "--seed", "7", "--stdin")
    assert re.fullmatch(
        rf"listening on 127.0.0.1 port \d+ for 127.0.0.1 port {upstream}: profile clean, seed 7",
        lines[0],
    )
    assert lines[1] == "done: loss:share=0.5"
    assert done.out.splitlines()[-1].startswith("accepted 0, refused 0, resets 0, bytes_down 0")
    assert (done.code, done.err) == (130, "")


def test_what_arguments_are_taken_for():
    """Addresses of IPv6 lose their brackets."""
    given = parse(["fault", "--target", "[::1]:8000", "--listen", "0.0.0.0:9000", "--at", "4.5=3g"])
    assert (given.target, given.listen) == (("::1", 8000), ("0.0.0.0", 9000))
    assert given.moments == ((4.5, "3g"),)
