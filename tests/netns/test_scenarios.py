"""
The production scenarios over a kernel's own network: real packets are lost, queued, and sent another way.

Server and client are processes of their own.  It takes root; without it these tests are skipped, and fail in CI.
"""

import time
from itertools import pairwise

import pytest

from tests.netns.stage import need_kernel, staged, staged_by_command

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

KBPS = 100
ALL = list(range(1, 51))
FROM_ZERO = list(range(50))

LOST = "Connection lost - attempting to reconnect..."
WAITING = "Waiting for server response..."
RESTORED = "Connection restored - resuming stream..."


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Tell a user what is missing; CI must have it."""
    need_kernel()


def seconds_between(loss, client):
    """Tell how long after a change the next event came."""
    return next(event["at"] for event in client.all("event") if event["at"] > loss["at"]) - loss["at"]


def test_slow_3g():
    """R10, R13, R14, R16, R18, R19: 50 of 50 at 100 kbps within 10 %, no loss, no repeat, no reconnect."""
    with staged_by_command("mobile") as stage:
        network = stage.network
        network.rate(KBPS)
        client = stage.subscribe("--count", "50")
        client.wait_for_change("connected")
        stage.publish(50, "x" * 1250)
        client.wait_for_event(5)
        carried, began = network.server.carried("mobile"), time.monotonic()
        client.wait_for_event(50)
        kilobits = (network.server.carried("mobile") - carried) * 8 / 1000
        on_the_wire = kilobits / (time.monotonic() - began)
        stats = client.finish()
        dropped = network.dropped()
    events = client.all("event")
    payload = (
        sum(len(event["data"]) for event in events[5:]) * 8 / 1000 / (events[-1]["at"] - events[4]["at"])
    )
    assert client.ids == ALL
    assert (stats["duplicates"], stats["gaps"], stats["reconnects"], dropped) == (0, 0, 0, 0)
    assert client.states == ["connected", "closed"]
    assert on_the_wire == pytest.approx(KBPS, rel=0.1)
    assert 0.8 * KBPS < payload < 1.05 * on_the_wire


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ten_percent_of_packets_lost(backend):
    """R32, R34-R36, R39: TCP sends again what is lost, and the client gets 50 of 50 once and in order."""
    with staged("wifi") as stage:
        network = stage.network
        network.loss(0.1)
        client = stage.subscribe("--count", "50", "--backend", backend, stall_timeout=20)
        client.wait_for_change("connected")
        stage.publish(50, "x" * 8000)
        stats = client.finish(seconds=30)
        lost_down, lost_up = network.dropped("down"), network.dropped("up")
        share = network.dropped() / network.arrived()
        sent_again = network.server.tcp()["RetransSegs"]
    assert client.ids == ALL
    assert (stats["duplicates"], stats["gaps"], stats["lost"], stats["reconnects"]) == (0, 0, 0, 0)
    assert lost_down > 0
    assert lost_up > 0
    assert 0.03 < share < 0.25
    assert sent_again > 0


def test_stall():
    """R20-R25, R27, R30: silence without a reset is first WAITING, then RECONNECTING, and nothing is lost."""
    with staged("wifi") as stage:
        network = stage.network
        client = stage.subscribe("--count", "50", stall_timeout=3, waiting_after=1.5)
        client.wait_for_change("connected")
        stage.publish(20)
        last = client.wait_for_event(20)
        network.cut()
        stage.publish(30)
        waiting = client.wait_for_change("waiting")
        lost = client.wait_for_change("reconnecting")
        resets = network.client.tcp()["EstabResets"]
        network.mend()
        stats = client.finish()
        dropped = network.dropped()
    assert client.ids == ALL
    assert (stats["duplicates"], stats["gaps"], stats["stalls"], stats["reconnects"]) == (0, 0, 1, 1)
    assert resets == 0
    assert dropped > 0
    assert (waiting["reason"], waiting["message"]) == ("stall", WAITING)
    assert (lost["reason"], lost["message"], lost["attempt"]) == ("stall", LOST, 1)
    assert 0.9 <= lost["delay"] <= 1.1
    assert 1.4 < waiting["at"] - last["at"] < lost["at"] - last["at"]
    assert 2.9 < lost["at"] - last["at"] < 4.5
    assert [event["connection"] for event in client.all("event")] == [1] * 20 + [2] * 30
    assert seconds_between(lost, client) < 5


@pytest.mark.parametrize(
    "abort,backend,reason", [(True, "asyncio", "reset"), (False, "trio", "stall")], ids=["abort", "silent"]
)
def test_handoff(abort, backend, reason):
    """R42, R43, R46-R49: from one veth to another with another address; 20 events before, 30 after, as from 20."""
    with staged("wifi", "mobile", first_id=0) as stage:
        network = stage.network
        client = stage.subscribe(
            "--count", "50", "--backend", backend, resume_param="last_event_id", stall_timeout=1.5
        )
        client.wait_for_change("connected")
        stage.publish(20)
        client.wait_for_event(20)
        before = network.address
        network.handoff("mobile", gap=1, abort=abort)
        stage.publish(30)
        stats = client.finish()
        first, *_, second = stage.requests
        asked = len(stage.requests)
    lost = client.wait_for_change("reconnecting")
    assert client.ids == FROM_ZERO
    assert [event["connection"] for event in client.all("event")] == [1] * 20 + [2] * 30
    assert (stats["duplicates"], stats["gaps"], stats["reconnects"], asked) == (0, 0, 1, 2)
    assert (first["header"], first["query"]) == (None, [["user_id", "a"]])
    assert (second["header"], second["query"]) == ("19", [["user_id", "a"], ["last_event_id", "19"]])
    assert before != network.address
    assert second["peer"] == network.address
    assert lost["reason"] == reason
    assert seconds_between(lost, client) < 5


def test_handoff_that_keeps_the_address():
    """R42: where the address moves along, TCP carries the connection over, and the client need not do anything."""
    with staged("wifi", "mobile", first_id=0) as stage:
        client = stage.subscribe("--count", "50", stall_timeout=10)
        client.wait_for_change("connected")
        stage.publish(20)
        client.wait_for_event(20)
        stage.network.handoff("mobile", gap=0.5, same_address=True)
        stage.publish(30)
        stats = client.finish()
        carried = stage.network.server.carried("mobile")
    assert client.ids == FROM_ZERO
    assert (stats["duplicates"], stats["gaps"], stats["reconnects"], len(stage.requests)) == (0, 0, 0, 1)
    assert carried > 30 * 100


def test_off_and_on_three_times():
    """R51, R52, R57, R58, R62, R63: each time it gets what it missed, though the server repeats five: 50 of 50."""
    with staged("wifi", overlap=5) as stage:
        network = stage.network
        client = stage.subscribe("--count", "50", "--backend", "trio")
        client.wait_for_change("connected")
        stage.publish(5)
        for round_ in range(3):
            client.wait_for_event(5 + 15 * round_)
            network.down(abort=True)
            stage.publish(15)
            client.program.wait_for(is_loss, seconds=5, count=round_ + 1)
            network.up()
        stats = client.finish()
    losses = [change for change in client.all("change") if is_loss(change)]
    assert client.ids == ALL
    assert (stats["duplicates"], stats["gaps"], stats["reconnects"]) == (15, 0, 3)
    assert [loss["attempt"] for loss in losses] == [1, 1, 1]
    assert [loss["reason"] for loss in losses] == ["reset"] * 3
    assert sum(change["message"] == RESTORED for change in client.all("change")) == 3
    assert [request["header"] for request in stage.requests] == [None, "5", "20", "35"]


def is_loss(record):
    """Tell whether a record is of a connection that was lost."""
    return record.get("new") == "reconnecting" and record["old"] in ("connected", "waiting")


def test_off_and_on_between_attempts():
    """R52-R54, R57, R58: one outage, in which the network is back only between attempts: after 1, 2 and 4 s."""
    exact = {"initial": 1.0, "factor": 2.0, "maximum": 5.0, "jitter": 0.0}
    with staged("wifi") as stage:
        network = stage.network
        client = stage.subscribe("--count", "50", backoff=exact)
        client.wait_for_change("connected")
        stage.publish(5)
        client.wait_for_event(5)
        network.down(abort=True)
        for attempt in (2, 3):
            stage.publish(15)
            client.wait_for_change("reconnecting", attempt=attempt)
            network.up()
            time.sleep(0.2)
            network.down()
        stage.publish(15)
        network.up()
        stats = client.finish()
    outage = [change for change in client.all("change") if change["new"] == "reconnecting"]
    assert client.ids == ALL
    assert (stats["duplicates"], stats["gaps"], stats["reconnects"], stats["failed_attempts"]) == (0, 0, 1, 2)
    assert [(change["attempt"], change["delay"]) for change in outage] == [(1, 1.0), (2, 2.0), (3, 4.0)]
    assert [change["reason"] for change in outage] == ["reset", "connect", "connect"]
    waits = [later["at"] - sooner["at"] for sooner, later in pairwise(outage)]
    assert waits[0] < waits[1]
    assert len(stage.requests) == 2
