"""Consumers that are killed at every point, and at any moment: nothing is lost, and repeats are bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.checkpoints import consumer
from tests.checkpoints.consumer import EVENTS, Job
from tests.checkpoints.history import Handled, violations
from tests.checkpoints.replaying import replaying

consumer.PROCESSES.set_forkserver_preload(["tests.checkpoints.consumer"])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Run the server."""
    with replaying() as url:
        yield url


@pytest.fixture(
    params=["sqlite 1", "sqlite 10", "sql 1", "redis 1", pytest.param("redis 10", marks=pytest.mark.proof)]
)
def job(request: pytest.FixtureRequest, tmp_path: Path, url: str) -> Job:
    """Give a job over each store, and how many events it lets pass between saves."""
    store, every = request.param.split()
    server = request.getfixturevalue("server") if store == "redis" else ""
    return Job(store, server, f"{url}/{request.node.name.replace(' ', '-')}", tmp_path, every=int(every))


def window(job: Job) -> int:
    """Return how many events may come again after a kill."""
    return 0 if job.store == "sql" else job.every


def finished(job: Job, *, killed: bool = False) -> None:
    """Let a run come to its end."""
    process = consumer.start(job)
    process.join(20)
    assert process.exitcode == (-9 if killed else 0)


def at(job: Job, name: object) -> Job:
    """Give a job a place of its own."""
    return replace(job, directory=job.directory / str(name), url=f"{job.url}/{name}")


def killed_at(job: Job, point: int) -> list[str]:
    """Kill a run at a step, let another come to the end, and list what the history of both breaks."""
    job = consumer.prepare(at(job, point))
    finished(replace(job, kill_at=point), killed=True)
    finished(replace(job, run=2))
    return violations(consumer.history(job), window=window(job), last=EVENTS)


def points(job: Job) -> int:
    """Count the steps of a whole run."""
    whole = consumer.prepare(at(job, "whole"))
    finished(whole)
    assert violations(consumer.history(whole), window=0, last=EVENTS) == []
    return int((whole.directory / "steps").read_text())


def tell(job: Job, kills: int, histories: list[list[Handled]]) -> None:
    """Print what a proof has found; `-s` shows it."""
    effects = sum(map(len, histories))
    events = sum(len({handled.event for handled in history}) for history in histories)
    found = f"{kills} kills, {events} events, 0 lost, {effects - events} repeats"
    print(f"\n{job.store}, commit_every={job.every}: {found}")  # noqa: T201


def test_killed_at_some_points(job):
    """A run killed before or behind a fetch, an effect, a save or a commit loses nothing (R152, P20, P21, P55)."""
    number = points(job)
    assert number >= (3 if job.every > 1 else 5) * EVENTS
    for point in range(7, number, number // 8):  # not a multiple of the steps of an event: each kind is met
        assert killed_at(job, point) == []


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_killed_at_every_point(job):
    """All of them, once each (R152, P55)."""
    killed = range(1, points(job) + 1)
    broken = {point: found for point in killed if (found := killed_at(job, point))}
    assert broken == {}
    tell(job, len(killed), [consumer.history(at(job, point)) for point in killed])


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_killed_at_random(job):
    """Three hundred kills at any moment, one history (R152, P55)."""
    consumer.prepare(job)
    draw = random.Random(job.store)
    kills = 300
    for number in range(1, kills + 1):
        process = consumer.start(replace(job, run=number, last=None))
        begun = job.directory / f"begun {number}"
        for _ in range(5000):
            if begun.exists():
                break
            process.join(0.002)
        process.join(draw.uniform(0, 0.15))
        process.kill()
        process.join()
    history = consumer.history(job)
    assert (
        len({handled.run for handled in history}) > kills / 4
    )  # the others were killed before the first event
    assert violations(history, window=window(job)) == []
    finished(replace(job, run=kills + 1, last=(last := history[-1].event + 10)))
    assert violations(consumer.history(job), window=window(job), last=last) == []
    tell(job, kills, [consumer.history(job)])
