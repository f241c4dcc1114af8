"""A network with a server on one side and clients on the other, all in processes of their own."""

import json
import socket
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.netns.network import SERVER, open_network
from tests.netns.probe import available
from tests.skipping import skip_aloud

TELLING_SERVER = Path(__file__).with_name("telling_server.py")
SUBSCRIBER = Path(__file__).with_name("subscriber.py")

USER = "a"

STARTED = 15
"""Seconds for a Python on a busy machine to begin to speak."""


def need_kernel():
    """Have a test go on only where there can be networks; elsewhere skip it aloud, or fail it in CI."""
    missing = available()
    if missing is not None:
        skip_aloud(f"no network namespaces: {missing}")


class Stage:
    """What a test needs."""

    def __init__(self, network, server):
        self.network = network
        self.server = server
        self.url = server.wait_for(lambda record: "url" in record, seconds=STARTED)["url"]

    def publish(self, count, data="x" * 100):
        """Have the server publish *count* events, from its own side, where nothing is lost."""
        parts = urlsplit(self.url)
        connection = HTTPConnection(parts.hostname, parts.port, timeout=5)
        connection.sock = self.network.server.connect(parts.hostname, parts.port)
        try:
            for _ in range(count):
                # An answer may come in two parts, and the second wait for a late acknowledgement of the first.
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                connection.request("POST", "/api/v1/publish", json.dumps({"data": data, "user_id": USER}))
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
        finally:
            connection.close()

    def subscribe(self, *options, **arguments):
        """Start a client; *arguments* are those of `ResilientStream`."""
        given = ("--sequence", "--arguments", json.dumps(arguments), *options)
        return Client(
            self.network.client.run("-W", "error", str(SUBSCRIBER), f"{self.url}?user_id={USER}", *given)
        )

    @property
    def requests(self):
        """The requests for the stream so far."""
        return [record for record in self.server.records if record["kind"] == "request"]


class Client:
    """What a client has told."""

    def __init__(self, program):
        self.program = program

    def wait_for_event(self, number, seconds=15.0):
        """Wait for the so-manyeth event."""
        return self.program.wait_for(kind("event"), seconds=seconds, count=number)

    def wait_for_change(self, new, seconds=15.0, **fields):
        """Wait for the first change to this state with these fields."""
        wanted = {"kind": "change", "new": new, **fields}
        return self.program.wait_for(lambda record: wanted.items() <= record.items(), seconds=seconds)

    def finish(self, seconds=10.0):
        """Wait for its end, and return its statistics."""
        assert self.program.wait(seconds=seconds) == 0, self.program.words
        assert self.program.words == ""
        end = self.program.records[-1]
        assert end["error"] is None
        return end["stats"]

    def all(self, name):
        """Everything of a kind."""
        return list(filter(kind(name), self.program.records))

    @property
    def ids(self):
        """The ids of the events, in the order in which they came."""
        return [int(event["id"]) for event in self.all("event")]

    @property
    def states(self):
        """The states that it went through."""
        return [change["new"] for change in self.all("change")]


def kind(name):
    """Make a test for records of a kind."""
    return lambda record: record.get("kind") == name


@contextmanager
def staged(*links, first_id=1, overlap=0):
    """Set up a stage whose server tells of requests."""
    with open_network(*links) as network:
        options = (SERVER, "8000", str(first_id), str(overlap))
        yield Stage(network, network.server.run(str(TELLING_SERVER), *options))


@contextmanager
def staged_by_command(*links):
    """Set up a stage with the server that users start."""
    command = ("-m", "resilient_sse", "serve", "--json", "--stdin", "--host", SERVER, "--start", "first")
    command += ("--retry", "none")
    with open_network(*links) as network:
        yield Stage(network, network.server.run(*command))
