"""A worker from a file, run until it is told to stop."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resilient_sse.relay import Config, RelayError, load_config, run_worker

GOOD = """
redis = "redis://127.0.0.1:1/0"
group = "trades"
lease = 5
batch = 100
maxlen = 1000

[[streams]]
name = "one"
url = "https://host/one"
headers = { Authorization = "Bearer x" }
stall_timeout = 60.0

[[streams]]
name = "two"
url = "https://host/two"
events = ["trade"]
"""


def loaded(path: Path, text: str) -> Config:
    """Load a file that says so."""
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_a_file(tmp_path):
    """Streams, and what a worker takes; a byte order mark, with which some editors begin, is no part of it."""
    config = loaded(tmp_path / "relay.toml", "\ufeff" + GOOD)
    assert config.redis == "redis://127.0.0.1:1/0"
    assert list(config.streams) == ["one", "two"]
    assert config.options == {"group": "trades", "lease": 5, "batch": 100, "maxlen": 1000}
    assert config.streams["one"]("7").last_event_id == "7"


@pytest.mark.parametrize(
    "old, new, told",
    [
        ('name = "two"', 'name = "one"', "two streams are named 'one'"),
        ("lease = 5", "lease = 0.2", "lease must be 1 s or more"),
        ("lease = 5", "lease = 1e300", "lease must be 86400 s, a day, or less"),
        ("maxlen = 1000", f"maxlen = {10**30}", "maxlen must be less than 2**63"),
        ("stall_timeout = 60.0", "resume_param = 5", "stream 'one': resume_param must be the name"),
        ("lease = 5", "lease = 'long'", "lease must be a number"),
        ("lease = 5", "leese = 5", "leese is unknown; known are redis, group, lease"),
        ("stall_timeout", "stall_timeuot", "stream 'one': stall_timeuot is unknown"),
        ("stall_timeout = 60.0", "stall_timeout = -1", "stream 'one': stall_timeout"),
        ('url = "https://host/two"', "", "stream 'two' has no url"),
        ('"https://host/two"', '"ftp://host/two"', "stream 'two': "),
        ('"https://host/two"', "2", "stream 'two': "),
        ('name = "two"', "", "stream 2 has no name"),
        ('redis = "redis://127.0.0.1:1/0"', "", "redis must be a URL"),
        ('"redis://127.0.0.1:1/0"', '"host:1"', "redis"),
        ('"redis://127.0.0.1:1/0"', '"redis://127.0.0.1:1/0?surprise=1"', "surprise"),
        ("maxlen = 1000", "maxlen = true", "maxlen must be an integer"),
        ("[[streams]]", "[[stream]]", "stream is unknown"),
        ("batch = 100", "batch = 0", "batch"),
        ("batch = 100", 'check_source = "no"', "check_source must be True or False"),
        ("batch = 100", "batch = ", "line 5"),
    ],
)
def test_files_that_make_no_sense(tmp_path, old, new, told):
    """One line each, which names the file and what is wrong (P62)."""
    path = tmp_path / "relay.toml"
    with pytest.raises(ValueError, match=re.escape(told)) as raised:
        loaded(path, GOOD.replace(old, new))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_files_without_streams(tmp_path):
    """So are these, and what is no file."""
    for text in ("streams = []", "streams = 1", "streams = [1]", ""):
        with pytest.raises(ValueError, match="streams"):
            loaded(tmp_path / "relay.toml", f'redis = "redis://127.0.0.1:1/"\n{text}')
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.toml")


async def test_redis_is_away(tmp_path):
    """The error is the one that is documented, and not a group of errors."""
    config = loaded(tmp_path / "relay.toml", GOOD)
    with pytest.raises(RelayError, match="cannot keep the leases"):
        await run_worker(config)
