"""The command `relay`, as a process, into a real Valkey."""

import logging
import re
import signal

import pytest

from resilient_sse.cli import main
from tests.checkpoints.replaying import replaying
from tests.examples.programs import until
from tests.relay.copying import whole


@pytest.fixture(autouse=True)
def logging_as_before():
    """Put back what the command sets of logging, which is the process's own."""
    loggers = [logging.getLogger(), logging.getLogger("resilient_sse")]
    before = [(logger, logger.level, [*logger.handlers]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


TOLD = [(50, signal.SIGINT, 130), (120, signal.SIGTERM, 0)]


def test_one_stream(valkey, start):
    """It copies until SIGTERM or Ctrl-C, and a second run goes on where the log ends (P62)."""
    with replaying() as url:
        for length, number, code in TOLD:
            command = start("relay", url, "--to", valkey.url, "--stream", "trades")
            until(lambda length=length: valkey.client.xlen("trades") >= length, lambda: "it is copied")
            command.send_signal(number)
            assert command.wait() == code
            assert re.search(rb"^\d+ events appended to 'trades'$", command.stderr.read(), re.MULTILINE)
    assert whole(valkey.client, "trades") >= 120


def test_many_streams(valkey, start, tmp_path):
    """Two workers of one configuration share its streams; what ends them is told by the exit code (P62)."""
    names = [f"s{n}" for n in range(4)]
    with replaying() as url:
        tables = "".join(f'[[streams]]\nname = "{name}"\nurl = "{url}/{name}"\n' for name in names)
        config = tmp_path / "relay.toml"
        config.write_text(f'redis = "{valkey.url}"\nlease = 2.0\n{tables}', encoding="utf-8")
        workers = [start("relay", "--config", str(config)) for _ in range(2)]
        until(lambda: all(valkey.client.xlen(name) >= 20 for name in names), lambda: "all are copied")
        until(lambda: len(valkey.client.keys("*:alive:*")) == 2, lambda: "both work")
        for worker, (_, number, _) in zip(workers, TOLD, strict=True):
            worker.send_signal(number)
        assert [worker.wait() for worker in workers] == [code for _, _, code in TOLD]
    told = [re.search(rb"has ended: (\d+) events appended", worker.stderr.read()) for worker in workers]
    assert sum(int(count[1]) for count in told if count) == sum(map(valkey.client.xlen, names))
    assert not valkey.client.smembers("relay:workers")
    assert all(whole(valkey.client, name) for name in names)


AWAY = "redis://127.0.0.1:1/"


@pytest.mark.parametrize(
    "at, names, code, says",
    [
        ("", ("trades", "trades"), 2, "two streams are named 'trades'"),
        (AWAY, ("trades",), 4, "Redis cannot keep the leases of 'relay': .*refused"),
    ],
    ids=["one name", "no Redis"],
)
def test_a_file_that_is_wrong(valkey, tmp_path, capsys, *, at, names, code, says):
    """One line tells what, and nothing is written (P62); `tests/relay/test_workers_config.py` has more faults."""
    config = tmp_path / "relay.toml"
    tables = "".join(f'[[streams]]\nname = "{name}"\nurl = "http://127.0.0.1:1/"\n' for name in names)
    config.write_text(f'redis = "{at or valkey.url}"\n{tables}', encoding="utf-8")
    assert main(["relay", "--config", str(config)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(says, line)
    assert not valkey.client.keys()


@pytest.mark.parametrize(
    "given, path, code, says",
    [
        ((), "missing", 3, "404"),
        ((), "page", 3, "text/html"),
        (("SET", "trades", "x"), "reply", 4, "holds what no relay has written"),
        (("SET", "{trades}:position", "x"), "reply", 4, "WRONGTYPE"),
        (
            ("HSET", "{trades}:position", "id", "1", "ordinal", 1, "source", "http://b/"),
            "reply",
            4,
            "from http://b/,",
        ),
        (AWAY, "reply", 4, "refused"),
    ],
    ids=["404", "a page", "a string", "no position", "another URL", "no Redis"],
)
def test_a_stream_that_cannot_be_copied(valkey, site, monkeypatch, capsys, *, given, path, code, says):
    """One line tells why, and nothing is written (P62)."""
    monkeypatch.setattr("resilient_sse.cli.relay._CONNECT_SECONDS", 0.1)
    if given and given != AWAY:
        valkey.client.execute_command(*given)
    before = {key: valkey.client.dump(key) for key in valkey.client.scan_iter()}
    to = AWAY if given == AWAY else valkey.url
    assert main(["relay", f"{site}/{path}", "--to", to, "--stream", "trades"]) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert says in line
    assert {key: valkey.client.dump(key) for key in valkey.client.scan_iter()} == before


def test_a_stream_that_has_moved(valkey, site, capsys):
    """It is gone on with if that is asked for (P62)."""
    valkey.client.hset("{trades}:position", mapping={"id": "2", "ordinal": 0, "source": "http://b/"})
    command = ["relay", f"{site}/reply", "--to", valkey.url, "--stream", "trades", "--any-source"]
    assert main(command) == 0
    assert [fields[b"id"] for _, fields in valkey.client.xrange("trades")] == [b"3", b"4"]


def test_a_server_that_is_not_there(valkey, start):
    """It is told of and tried again, for it may come; nothing is written (P62)."""
    command = start("relay", "http://127.0.0.1:1/", "--to", valkey.url, "--stream", "trades")
    assert b"refused" in command.stderr.readline() + command.stderr.readline()
    command.send_signal(signal.SIGTERM)
    assert command.wait() == 0
    assert not valkey.client.keys()
