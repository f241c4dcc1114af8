"""The streams of a worker from a file, and the worker run as a process."""

from __future__ import annotations

import signal
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio

from resilient_sse._client.stream import ResilientStream
from resilient_sse.relay.workers import Worker

__all__ = ["Config", "load_config", "run_worker"]

_SETTINGS = ("redis", "group", "lease", "batch", "maxlen", "check_source", "streams")
_STREAM = (
    "name",
    "url",
    "headers",
    "params",
    "resume_param",
    "connect_timeout",
    "stall_timeout",
    "event_timeout",
    "events",
    "heartbeat_events",
    "max_event_bytes",
)


@dataclass(frozen=True, slots=True)
class Config:
    """
    What a worker is made of.

    Attributes:
        redis: The URL of the one Redis.
        streams: For each name of a log, what opens its stream behind an id.
        options: What else `Worker` takes: *group*, *lease*, *batch*, *maxlen*, *check_source*.
    """

    redis: str
    streams: Mapping[str, Callable[[str | None], ResilientStream]]
    options: Mapping[str, Any]

    def worker(self) -> Worker:
        """Return a new worker."""
        return Worker(self.streams, self.redis, **self.options)


def load_config(path: str | Path) -> Config:
    """
    Return what a file says, in TOML.

    Raises:
        ValueError: It cannot be read, or makes no sense; one line that names the file and what is wrong.
    """
    try:
        return _config(tomllib.loads(Path(path).read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


async def run_worker(config: Config) -> int | None:
    """
    Run one worker until SIGTERM or SIGINT; then it hands its streams over.

    Returns:
        The number of the signal.

    Raises:
        RelayError: Redis does not answer, or refuses, at the start.
    """
    worker = config.worker()
    failure: Exception | None = None
    told: int | None = None

    async def stop_at_signals() -> None:
        nonlocal told
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for told in signals:  # noqa: B007 - it is read at the end
                worker.stop()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_at_signals)
        try:
            await worker.run()
        except Exception as exc:  # noqa: BLE001 - out of the group as it is, not in a group of its own
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return told


def _config(table: dict[str, Any]) -> Config:
    _check_keys(table, _SETTINGS)
    redis = table.pop("redis", None)
    if not isinstance(redis, str):
        raise TypeError("redis must be a URL, such as redis://127.0.0.1/0")
    tables = table.pop("streams", None)
    if not isinstance(tables, list) or not tables:
        raise TypeError("there must be a [[streams]] table for each stream")
    streams: dict[str, Callable[[str | None], ResilientStream]] = {}
    for number, entry in enumerate(cast("list[object]", tables), 1):
        if not isinstance(entry, dict):
            raise TypeError("streams must be tables: [[streams]]")
        name, opened = _stream(cast("dict[str, Any]", entry), number)
        if name in streams:
            raise ValueError(f"two streams are named {name!r}")
        streams[name] = opened
    config = Config(redis, streams, table)
    config.worker()  # which checks the rest, and connects to nothing
    return config


def _stream(table: dict[str, Any], number: int) -> tuple[str, Callable[[str | None], ResilientStream]]:
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"stream {number} has no name")
    if "url" not in table:
        raise ValueError(f"stream {name!r} has no url")
    try:
        _check_keys(table, _STREAM)
        options = {key: value for key, value in table.items() if key not in ("name", "url")}
        opened = partial(_open, table["url"], options)
        opened(None)  # which checks the options, and connects to nothing
    except (TypeError, ValueError) as error:
        raise ValueError(f"stream {name!r}: {error}") from error
    return name, opened


def _open(url: str, options: dict[str, Any], position: str | None) -> ResilientStream:
    return ResilientStream(url, last_event_id=position, max_retries=None, **options)


def _check_keys(table: dict[str, Any], known: tuple[str, ...]) -> None:
    if unknown := sorted(set(table) - set(known)):
        raise ValueError(f"{', '.join(unknown)} is unknown; known are {', '.join(known)}")
