"""`fault`: what is accepted, and the proxy as a command, from its first line to its certain end."""

import array
import fcntl
import json
import re
import signal
import socket
import subprocess
import termios
import threading
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from resilient_sse.cli import exits
from resilient_sse.testing.proxy import TOXICS
from tests.cli.conftest import finished, parse
from tests.docs.pages import table, text_of
from tests.e2e.watching import soon

PATIENCE = 20


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

    def __init__(self, process):
        self.process = process
        self.ready = json.loads(process.stdout.readline())
        self.port = self.ready["port"]

    def connect(self):
        """Connect to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def hold(self):
        """Connect, and know that the connection has reached the server."""
        held = self.connect()
        held.sendall(b"a")
        assert held.recv(1) == b"a"
        return held

    def is_listening(self):
        """Tell whether the system knows a listener on its port, whoever it is."""
        port = f":{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        return any(line.split()[1].endswith(port) and line.split()[3] == "0A" for line in lines)

    def say(self, text):
        """Write to its standard input."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end(self, number=None):
        """End it by a signal, or its standard input; return how it ended, the counters, and what it has done."""
        if number is None:
            self.process.stdin.close()
        else:
            self.process.send_signal(number)
        done = finished(self.process)
        *told, last = done.objects
        assert not self.is_listening()
        return done, last["counters"], [line["done"] for line in told]


@pytest.fixture
def fault(start, upstream):
    """Give a function that runs the command before the server."""

    def fault(*arguments, **settings):
        target = ("--target", f"127.0.0.1:{upstream}")
        return Fault(start("fault", *target, "--json", *arguments, stdin=subprocess.PIPE, **settings))

    return fault


@pytest.mark.e2e
@pytest.mark.parametrize("end,code", [(None, 0), (signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_serves_until_it_is_told_to_stop(fault, upstream, end, code):
    """Ready is one JSON line with the port; at the end no port is open, and no connection."""
    running = fault("--stdin", "--profile", "wifi", "--seed", "7")
    assert running.ready == {
        "host": "127.0.0.1",
        "port": running.port,
        "target": f"127.0.0.1:{upstream}",
        "profile": "wifi",
        "seed": 7,
    }
    running.hold().close()
    assert running.is_listening()
    with running.hold() as held:
        done, counters, _ = running.end(end)
        assert held.recv(1) == b""
    assert (done.code, done.err) == (code, "")
    assert (counters["accepted"], counters["bytes_down"], counters["live"]) == (2, 2, 0)


@pytest.mark.e2e
def test_lines_of_standard_input_are_done_at_once(fault):
    """P24: a person, or a script, breaks the network by hand; what is not understood changes nothing."""
    running = fault("--stdin")
    with running.hold() as held:
        running.say("refuse\n")
        assert soon(lambda: not running.is_listening())
        running.say("explode\nreset\n")
        with pytest.raises(ConnectionResetError):
            held.recv(1)
    running.say("accept\n")
    assert soon(running.is_listening)
    running.hold().close()
    running.say("burst")  # the last line needs no end
    done, counters, told = running.end()
    assert (done.code, counters["resets"]) == (0, 1)
    assert told == ["refuse", "reset", "accept"]
    assert re.findall(r"unknown action '(\w+)'; choose one of refuse, accept", done.err) == [
        "explode",
        "burst",
    ]
    assert done.err.count("\n") == 2


@pytest.mark.e2e
def test_who_does_not_read_what_it_prints_has_a_network_nevertheless(fault):
    """Bad input: its standard output fills up; connections are served, and SIGTERM closes port and connections."""
    running = fault("--stdin")
    pipe, waiting = running.process.stdout, array.array("i", [0])
    size = fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1)
    line = len('{"done": "flow"}\n')
    running.say("flow\n" * (size // line + 1))

    def is_full():
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)
        return waiting[0] + line > size

    assert soon(is_full)
    running.say("refuse\n")
    with running.hold() as held:
        running.process.send_signal(signal.SIGTERM)
        assert held.recv(1) == b""
    assert soon(lambda: not running.is_listening())
    out, err = running.process.communicate(timeout=PATIENCE)
    assert json.loads(out.splitlines()[-1])["counters"]["accepted"] == 1
    assert (running.process.returncode, err) == (0, b"")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_standard_input_is_not_read_ahead(monkeypatch):
    """Bad input: lines that come faster than they are done fill no queue, and leave the proxy its turns."""
    read = []
    monkeypatch.setattr(
        exits.os, "read", lambda _descriptor, _size: read.append(1) or b"wifi\n" * (len(read) < 50)
    )
    seen = [len(read) async for _ in exits.stdin_chunks()]
    assert seen == [*range(1, 50)]


@pytest.mark.e2e
def test_the_limit_of_a_shell_on_open_files_is_none_of_the_proxy(fault):
    """P24: a connection takes two, and a shell allows 1,024 where the system allows more."""
    resource = pytest.importorskip("resource")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    running = fault(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, most)))
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(running.hold())
    done, *_ = running.end(signal.SIGTERM)
    assert (done.code, done.err) == (0, "")

    running = fault(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(running.connect())
        assert b"see ulimit -n" in running.process.stderr.readline()
    done, *_ = running.end(signal.SIGTERM)
    assert (done.code, done.err) == (0, "")


@pytest.mark.e2e
def test_the_network_goes_and_comes_back(fault):
    """
    R46, R51: connections are reset, new ones refused, and after a while all is well again; each is said.

    Without `--stdin`, the end of standard input means nothing.
    """
    running = fault(*("--at", "1=refuse", "--at", "1=reset", "--at", "1.5=4g", "--at", "1.5=accept"))
    running.process.stdin.close()
    with running.hold() as held, pytest.raises(ConnectionResetError):
        held.recv(1)
    assert soon(running.is_listening)
    running.hold().close()
    done, counters, told = running.end(signal.SIGTERM)
    assert (done.code, done.err, counters["resets"]) == (0, "", 1)
    assert told == ["refuse", "reset", "4g", "accept"]


@pytest.mark.e2e
def test_people_get_words(start, upstream):
    """Without `--json` the same is said in words; P25: what `--toxic` says befalls the first connection."""
    toxics = ("--toxic", "limit-bytes:after=3,times=1", "--toxic", "slicer:size=2", "--at", "0=accept")
    process = start("fault", "--target", f"127.0.0.1:{upstream}", "--seed", "7", *toxics)
    said = process.stdout.readline().decode()
    told = rf"listening on 127.0.0.1 port (\d+) for 127.0.0.1 port {upstream}: profile clean, seed 7\n"
    port = int(re.fullmatch(told, said)[1])
    assert process.stdout.readline() == b"done: accept\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock, sock.makefile("rb") as read:
        sock.sendall(b"abcdef")
        assert read.read() == b"abc"
    process.send_signal(signal.SIGINT)
    done = finished(process)
    assert done.out.startswith("accepted 1, refused 0, resets 0, bytes_down 3")
    assert (done.code, done.err) == (130, "")


def test_what_arguments_are_taken_for():
    """Addresses of IPv6 lose their brackets."""
    given = parse(["fault", "--target", "[::1]:8000", "--listen", "0.0.0.0:9000", "--at", "4.5=3g"])
    assert (given.target, given.listen) == (("::1", 8000), ("0.0.0.0", 9000))
    assert given.moments == ((4.5, "3g"),)
