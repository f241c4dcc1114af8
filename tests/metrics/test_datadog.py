"""What the agent of Datadog is sent: lines, packets, tags; and that no stream waits for it."""

import gc
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import anyio
import pytest
from datadog.dogstatsd.base import DogStatsd
from datadog.dogstatsd.base import statsd as default_statsd

from resilient_sse import StreamStats
from resilient_sse._core.recovery import Recovery
from resilient_sse._core.states import Reason
from resilient_sse.metrics import datadog, feeding
from resilient_sse.metrics.datadog import DatadogMetrics
from resilient_sse.testing import Script, pause, run_in_virtual_time
from tests.client.support import URL, drain, make, numbered, take
from tests.metrics.torment import settle

ROOT = Path(__file__).parents[2]
QUIET = ("-W", "error", "-W", "ignore::ResourceWarning", "-W", "ignore:This process:DeprecationWarning")
"""Warnings are errors, but for streams left open, and for a fork beside threads, of which Python 3.15 warns."""
NEVER = 3600.0
"""An interval that is longer than any test: what is sent is sent by `flush`."""


class Agent:
    """What listens on UDP in the place of Datadog's agent."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.clients = []

    def client(self, **options):
        self.clients.append(DogStatsd("127.0.0.1", self.port, disable_telemetry=True, **options))
        return self.clients[-1]

    def packets(self):
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65_536, socket.MSG_DONTWAIT).decode())
        return found

    def lines(self):
        return [line for packet in self.packets() for line in packet.splitlines()]


def totals(lines):
    """Add up the counters, by name."""
    sums: Counter[str] = Counter()
    for line in lines:
        name, value, kind = re.match(r"([^:]+):([^|]+)\|(\w)", line).groups()
        sums[name] += int(value) if kind == "c" else 0
    return sums


async def until(enough):
    """Wait for another thread, ten seconds at most."""
    with anyio.fail_after(10):
        while not enough():  # noqa: ASYNC110 - no event of ours tells
            await anyio.sleep(0.01)


@pytest.fixture
def agent():
    """Give an agent, and leave no sockets."""
    agent = Agent()
    yield agent
    settle()
    for client in agent.clients:
        client.close_socket()
    agent.socket.close()


@pytest.fixture
def metrics(agent):
    """Give the instrument whose client leads to the agent."""
    return DatadogMetrics(agent.client(), interval=NEVER)


# --- Lines


async def test_the_lines_of_a_stall(script, agent, metrics):
    """Every line, to the letter: names of the catalogue, kinds, values, tags (R125, R185, R126 to R132)."""
    script.respond(pause(2), *numbered(1, 2)).hang()
    script.respond(pause(0.5), *numbered(2, 3)).hang()
    async with make(script, observers=[metrics]) as stream:
        await take(stream, 3)
    metrics.flush()
    packets = agent.packets()
    assert len(packets) <= 3
    assert max(map(len, packets)) <= 1432, "what a network carries in one piece"
    assert sorted(line for packet in packets for line in packet.splitlines()) == sorted(
        [
            "sse_client_events_delivered_total:3|c",
            "sse_duplicate_events_total:1|c",
            "sse_user_visible_errors_total:1|c|#category:connection_lost",
            "sse_client_stalls_total:1|c",
            "sse_client_connections_total:2|c",
            "sse_client_received_bytes_total:60|c",
            "sse_total_events_received:4|c",
            "sse_client_events_received_total:4|c",
            "sse_streams_started_total:1|c",
            "sse_client_streams_with_errors_total:1|c",
            "sse_client_outages_total:1|c",
            "sse_client_reconnects_total:1|c|#reason:stall",
            "sse_client_streams:0|g|#state:connecting",
            "sse_client_streams:0|g|#state:connected",
            "sse_client_streams:0|g|#state:waiting",
            "sse_client_streams:0|g|#state:reconnecting",
            "sse_client_streams:0|g|#state:error",
            "sse_client_streams_held_back:0|g",
            "sse_client_recent_expected_events:0|g",
            "sse_client_recent_expected_events_received:0|g",
            "sse_client_time_to_first_event_seconds:2.0|d",
            "sse_client_connection_lifetime_seconds:32.0|d",
            "sse_client_connection_lifetime_seconds:0.5|d",
            "sse_reconnect_time_ms:1500.0|d",
            "sse_client_silence_seconds:31.5|d",
            "sse_client_reopening_seconds:1.0|d",
            "sse_client_stall_recovery_seconds:1.5|d",
        ]
    )
    metrics.flush()
    assert {line.split("|")[1] for line in agent.lines()} == {"g"}, "without news, what an agent would forget"


async def test_the_program_may_send_besides(script, agent):
    """The client is shared with the program: its namespace and tags hold, and its own lines arrive."""
    client = agent.client(namespace="shop", constant_tags=["env:test"])
    metrics = DatadogMetrics(client, labels={"network": ["4g"]}, interval=NEVER)
    script.respond(*numbered(1))
    await drain(make(script, observers=[metrics.labelled(network="4g")], on_eof="complete"))
    metrics.flush()
    client.increment("orders")
    lines = agent.lines()
    assert "shop.sse_streams_started_total:1|c|#network:4g,env:test" in lines
    assert "shop.orders:1|c|#env:test" in lines


# --- Tags


@pytest.mark.parametrize(
    "wrong, text",
    [
        *(({"interval": wrong}, "interval must be a positive number") for wrong in (0, -1, float("inf"))),
        ({"interval": float("nan")}, "interval must be a positive number"),
        *(({"interval": wrong}, "interval must be a positive number") for wrong in ("a", None, True)),
        *(({"statsd": wrong}, "statsd must be a client such as") for wrong in ("a:8125", 8125, DogStatsd)),
    ],
    ids=str,
)
def test_wrong_arguments(wrong, text):
    """A mistake is told where it is made; also a text, which has a method `count` (R97, bad input)."""
    with pytest.raises((TypeError, ValueError), match=text):
        DatadogMetrics(**wrong)


# --- The thread


@pytest.mark.e2e
async def test_it_is_sent_by_itself():
    """Every so often while the stream lives; thread and client are gone with the last stream, all being sent."""
    client = Raises(ill=False)
    sent, gone = client.sent, weakref.ref(client)

    def delivered():
        return sum(value for name, value in sent if name == "sse_client_events_delivered_total")

    script = Script()
    script.respond(*numbered(1, 2), pause(1), *numbered(3)).hang()
    async with make(script, observers=[DatadogMetrics(client, interval=0.05)]) as stream:
        await take(stream, 2)
        await until(lambda: delivered() == 2)
        (thread,) = [each for each in threading.enumerate() if each.name == "resilient_sse DatadogMetrics"]
        await anext(stream)
    del stream, client
    gc.collect()
    await anyio.to_thread.run_sync(thread.join, 10)
    gc.collect()
    assert (thread.is_alive(), gone(), delivered()) == (False, None, 3)


async def test_the_default_client(script, agent, monkeypatch):
    """It is the one that `datadog.initialize` configures."""
    monkeypatch.setattr(default_statsd, "port", agent.port)
    monkeypatch.setattr(default_statsd, "host", "127.0.0.1")
    default_statsd.close_socket()
    script.respond(*numbered(1))
    metrics = DatadogMetrics(interval=NEVER)
    await drain(make(script, observers=[metrics], on_eof="complete"))
    metrics.flush()
    default_statsd.close_socket()
    assert totals(agent.lines())["sse_client_events_delivered_total"] == 1


# --- Faults


RECOVERY = Recovery(reason=Reason.RESET, attempts=1, silent_since=0, lost_at=0, opened_at=1, recovered_at=1)


class Raises(DogStatsd):
    """A client that fails until it is well."""

    def __init__(self, *, ill=True):
        super().__init__("127.0.0.1", 8125, disable_telemetry=True)
        self.ill = self.refuses = ill
        self.sent = []

    def count(self, name, value, tags=None):
        if self.ill and name == "sse_streams_started_total":
            raise OSError("no route to host")
        self.sent.append((name, value))

    gauge = count

    def distribution(self, name, value, tags=None):
        if self.refuses:
            self.refuses = False
            raise OSError("network is down")
        self.sent.append((name, value))


@pytest.mark.e2e
async def test_a_client_that_raises(caplog):
    """The stream goes on; it is counted, and logged once; once well again, nothing is missing (bad input)."""
    client = Raises()
    script = Script()
    script.respond(*numbered(1, 2, 3)).hang()
    metrics = DatadogMetrics(client, interval=0.02)
    async with make(script, observers=[metrics]) as stream:
        await take(stream, 3)
        await until(lambda: metrics.failures >= 3)
        assert ("sse_streams_started_total", 1) not in client.sent
        client.ill = False
        name = "sse_client_time_to_first_event_seconds"
        await until(lambda: any(sent == name for sent, _ in client.sent))
        assert stream.stats.callback_errors == 0
    settle()
    assert metrics.failures > 3
    counted = ("sse_streams_started_total", "sse_client_events_delivered_total")
    assert [sum(value for name, value in client.sent if name == each) for each in counted] == [1, 3]
    (logged,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert logged.message == "DatadogMetrics cannot hand over the figures"
    assert logged.exc_info is not None


class Blocks(Raises):
    """A client that waits."""

    def __init__(self):
        super().__init__()
        self.free = threading.Event()
        self.asked = threading.Event()

    def count(self, name, value, tags=None):
        self.asked.set()
        self.free.wait(60)

    gauge = distribution = count


@pytest.mark.e2e
async def test_a_client_that_blocks(caplog, monkeypatch):
    """Nobody waits for it but its thread; what finds no room is dropped, counted and logged once (bad input)."""
    monkeypatch.setattr(datadog, "MAX_WAITING", 50)
    client = Blocks()
    metrics = DatadogMetrics(client, interval=0.01)
    script = Script()
    script.respond(*numbered(1)).hang()
    async with make(script, observers=[metrics]) as stream:
        await anext(stream)
        assert await anyio.to_thread.run_sync(client.asked.wait, 10)
        began = time.monotonic()
        stats = StreamStats()
        observer = metrics.attach(stats, URL)
        for _ in range(100):
            observer(RECOVERY)
        another = Script()
        another.respond(*numbered(*range(100)))
        assert len(await drain(make(another, observers=[metrics], on_eof="complete"))) == 100
        assert time.monotonic() - began < 10
        client.free.set()
    settle()
    assert metrics.dropped > 200
    (logged,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert logged.message.startswith("durations are dropped")


def test_no_more_threads(agent, metrics, monkeypatch, caplog):
    """A process at its limit has streams without an exporter rather than none (bad input)."""
    monkeypatch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))

    async def follow():
        script = Script()
        script.respond(*numbered(1, 2))
        stream = make(script, observers=[metrics], on_eof="complete")
        assert len(await drain(stream)) == 2
        return stream.stats.callback_errors

    assert run_in_virtual_time(follow) == 0
    monkeypatch.undo()
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
    metrics.flush()
    lines = agent.lines()
    assert totals(lines)["sse_client_events_delivered_total"] == 2
    assert "sse_client_connection_lifetime_seconds:0.0|d" in lines, "the facts are taken note of all the same"


JOB = """
import os, sys, threading, time
from datadog.dogstatsd.base import DogStatsd
from resilient_sse import ResilientStream
from resilient_sse.metrics.datadog import DatadogMetrics
from resilient_sse.testing import Script, event, run_in_virtual_time

job, port = sys.argv[1:]
client = DogStatsd("127.0.0.1", int(port), disable_telemetry=True)
if job == "block":
    client.count = lambda *args: threading.Event().wait()
metrics = DatadogMetrics(client, interval=3600)

async def follow():
    script = Script()
    script.respond(event("x", id="1"), event("y", id="2"))
    stream = ResilientStream("https://host/", client=script.client(), observers=[metrics], on_eof="complete")
    async for _ in stream: pass
    return stream

kept = run_in_virtual_time(follow)
if job == "fork":
    child = os.fork()
    also = run_in_virtual_time(follow)
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.e2e
@pytest.mark.parametrize("job, delivered", [("block", 0), ("fork", 6)])
def test_the_end_of_a_process(agent, job, delivered):
    """What is left is sent, by parents and children each their own; a client that blocks is given two seconds."""
    run = [sys.executable, *QUIET, "-c", JOB, job, str(agent.port)]
    began = time.monotonic()
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    took = time.monotonic() - began
    assert (done.returncode, done.stderr) == (0, "")
    assert totals(agent.lines())["sse_client_events_delivered_total"] == delivered
    if job == "block":
        assert took > feeding.EXIT_SECONDS
