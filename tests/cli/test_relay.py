"""The command `relay`, as a process, into a real Valkey."""

import logging
import signal
import time

import pytest

from resilient_sse.cli import main
from tests.checkpoints.replaying import replaying
from tests.testing.server.valkey import valkey as running


@pytest.fixture(autouse=True)
def logging_as_before():
    """Put back what the command sets of logging, which is the process's own."""
    loggers = [logging.getLogger(), logging.getLogger("resilient_sse")]
    before = [(logger, logger.level, [*logger.handlers]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def valkey(tmp_path):
    """Run a server of the test's own."""
    with running(tmp_path) as server:
        yield server


def is_whole(valkey, name: str) -> bool:
    """Whether there is one copy of each event, in order."""
    entries = [(int(f[b"ordinal"]), int(f[b"data"])) for _, f in valkey.client.xrange(name)]
    numbers = range(1, len(entries) + 1)
    return entries == list(zip(numbers, numbers, strict=True))


def wait_for(valkey, name: str, length: int) -> None:
    """Wait until a log has grown."""
    for _ in range(3000):
        if valkey.client.xlen(name) >= length:
            return
        time.sleep(0.01)
    pytest.fail("nothing is copied")


def test_one_stream(valkey, start):
    """It copies until SIGTERM or Ctrl-C, and a second run goes on where the log ends (P62)."""
    with replaying() as url:
        for length, number, code in ((50, signal.SIGINT, 130), (120, signal.SIGTERM, 0)):
            command = start("relay", url, "--to", valkey.url, "--stream", "trades", "--batch", "7")
            wait_for(valkey, "trades", length)
            command.send_signal(number)
            assert command.wait() == code
    assert is_whole(valkey, "trades")


def test_many_streams(valkey, start, tmp_path):
    """Two workers of one configuration share its streams; SIGTERM ends them well (P62)."""
    with replaying() as url:
        tables = "".join(f'[[streams]]\nname = "s{n}"\nurl = "{url}/{n}"\n' for n in range(4))
        config = tmp_path / "relay.toml"
        config.write_text(f'redis = "{valkey.url}"\nlease = 2.0\n{tables}', encoding="utf-8")
        workers = [start("relay", "--config", str(config)) for _ in range(2)]
        for n in range(4):
            wait_for(valkey, f"s{n}", 20)
        for _ in range(3000):
            if len(valkey.client.keys("*:alive:*")) == len(workers):
                break
            time.sleep(0.02)
        else:
            pytest.fail("a worker does not begin")
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        assert [worker.wait() for worker in workers] == [0, 0]
    assert all(is_whole(valkey, f"s{n}") for n in range(4))


def test_two_streams_of_one_name(tmp_path, capsys):
    """A configuration that makes no sense is refused with its name, and nothing is written."""
    config = tmp_path / "relay.toml"
    stream = '[[streams]]\nname = "a"\nurl = "http://host/"\n'
    config.write_text(f'redis = "redis://127.0.0.1:1/"\n{stream}{stream}', encoding="utf-8")
    assert main(["relay", "--config", str(config)]) == 2
    assert "two streams are named 'a'" in capsys.readouterr().err


def test_redis_is_away(monkeypatch, capsys):
    """A wrong address is told of at the start."""
    monkeypatch.setattr("resilient_sse.cli.relay._CONNECT_SECONDS", 0.1)
    assert main(["relay", "http://127.0.0.1:1/", "--to", "redis://127.0.0.1:1/", "--stream", "x"]) == 4
    assert "refused" in capsys.readouterr().err
