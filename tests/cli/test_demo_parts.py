"""The demo's plan, its reports, and its verdict, without a network."""

import json

import anyio
import pytest

from resilient_sse import Reason, ServerSentEvent, StateChange, StreamState, StreamStats
from resilient_sse.cli.demo.record import Entry, Record
from resilient_sse.cli.demo.report import Report
from resilient_sse.cli.demo.script import MESSAGES, OVERLAP, REPLY, Deed, Fault, Plan


def test_plans():
    """Whatever the seed, faults strike in order and far enough apart, and messages are left for the end."""
    for seed in range(1000):
        plan = Plan.of(seed)
        assert 0 < plan.reset_after < plan.silent_after - 3 < plan.silent_after < plan.end_after
        assert OVERLAP < plan.end_after < MESSAGES
        assert 0 < plan.cut < 1
    assert Plan.of(1) == Plan.of(1) != Plan.of(2)


def test_message_that_is_lost():
    """It lies inside of a connection, so that no resumption can hide its loss."""
    plan = Plan.of(3, "lose")
    assert plan.never_sent is not None
    assert plan.reset_after < plan.never_sent < plan.silent_after
    assert Plan.of(3, "calm").never_sent is None


@pytest.mark.parametrize("fault", [None, *Fault])
def test_deeds(fault: Fault | None):
    """A deed survives the way between the processes."""
    deed = Deed(text="é", fault=fault, url="http://host", messages=2, seconds=3.5)
    assert Deed.of(json.loads(deed.to_json())) == deed
    assert "\n" not in deed.to_json()


DEEDS = [
    Deed(text="listens", url="http://host"),
    Deed(text="reset", fault=Fault.RESET),
    Deed(text="silent", fault=Fault.SILENCE, seconds=3.0),
    Deed(text="503", fault=Fault.UNAVAILABLE),
    Deed(text="again", fault=Fault.REPLAY, messages=OVERLAP),
]


def message(number: int, word: str | None = None) -> ServerSentEvent:
    """Make a message of the reply."""
    return ServerSentEvent(id=str(number), data=json.dumps({"text": word or REPLY[number - 1]}))


def lost(reason: Reason, *, attempt: int = 1, status: int | None = None) -> StateChange:
    """Make a change of state that tells a loss."""
    return StateChange(
        old=StreamState.CONNECTED,
        new=StreamState.RECONNECTING,
        reason=reason,
        attempt=attempt,
        delay=1.0,
        status=status,
        at=anyio.current_time(),
    )


def good_record(*, without: int | None = None) -> Record:
    """Record a run in which everything is as it should be, but perhaps for one message."""
    record = Record(seed=1, told=lambda entry: None)
    for deed in DEEDS:
        record.deed(deed)
    for number in range(1, MESSAGES + 1):
        if number == 10:
            record.change(lost(Reason.RESET))
        if number == 20:
            record.change(lost(Reason.STALL))
        if number == 30:
            record.change(lost(Reason.EOF))
            record.change(lost(Reason.SERVER, attempt=2, status=503))
        if number != without:
            record.event(message(number))
    record.event(ServerSentEvent(event="done"))
    record.stats = StreamStats(duplicates=OVERLAP)
    return record


async def test_all_is_well():
    """Everything is kept, and each outage is told."""
    report = Report.of(good_record())
    assert report.kept
    assert report.verdict.startswith("Passed in ")
    assert [(r.reason, r.attempts) for r in report.reconnects] == [
        ("reset", 1),
        ("stall", 1),
        ("eof, then server 503", 2),
    ]


async def test_recovery_is_timed():
    """The time of an outage runs from its first loss to the first new message."""
    record = Record(seed=1, told=lambda entry: None)
    record.change(lost(Reason.EOF))
    await anyio.sleep(2)
    record.change(lost(Reason.CONNECT, attempt=2))
    await anyio.sleep(3)
    record.event(message(1))
    record.event(message(2))
    assert [outage.recovery for outage in record.outages] == [pytest.approx(5)]
    record.change(lost(Reason.RESET))
    assert Report.of(record).reconnects[1].recovery is None


async def test_entries():
    """What happens is told when it happens, with its details."""
    told: list[Entry] = []
    record = Record(seed=1, told=told.append)
    record.deed(DEEDS[0])
    record.change(lost(Reason.SERVER, attempt=2, status=503))
    record.event(message(1))
    assert [(entry.source, entry.text) for entry in told] == [
        ("server", "listens"),
        ("client", "RECONNECTING  [server 503; retry 2 in 1.0 s]"),
        ("message", " 1  A"),
    ]
    assert record.entries == told[:2]


def broken(record: Record) -> list[str]:
    """Name what the report finds broken."""
    return [check.name for check in Report.of(record).broken]


async def test_loss_is_found():
    """A message that is missing is missed, whatever the client says of itself."""
    assert broken(good_record(without=33)) == ["messages received", "reply intact", "messages lost"]


async def test_repetition_is_found():
    """A message that came twice is found."""
    record = good_record()
    record.event(message(7))
    assert broken(record) == ["reply intact", "duplicates delivered"]


async def test_wrong_word_is_found():
    """The words count, not only their numbers."""
    record = good_record(without=50)
    record.event(message(50, "END."))
    assert broken(record) == ["reply intact"]


async def test_end_is_missed():
    """A reply without its last event is not complete."""
    record = good_record()
    record.completed = False
    assert broken(record) == ["reply complete"]


async def test_gap_is_found():
    """A gap that the client reports counts, even if nothing is missing."""
    record = good_record()
    record.stats = StreamStats(duplicates=OVERLAP, gaps=1)
    assert broken(record) == ["gaps"]


async def test_replay_has_to_be_suppressed():
    """What the server repeated, the client must have dropped; what it did not see proves nothing."""
    record = good_record()
    record.stats = StreamStats(duplicates=OVERLAP - 1)
    assert broken(record) == ["duplicates suppressed"]


@pytest.mark.parametrize("fault", list(Fault))
async def test_each_fault_has_to_happen(fault: Fault):
    """Without one of its four faults the demo shows nothing, and says so."""
    record = good_record()
    record.deeds = [deed for deed in record.deeds if deed.fault is not fault]
    report = Report.of(record)
    assert any(check.found == "did not happen" for check in report.broken)
    assert not report.kept


async def test_faults_have_to_be_noticed():
    """What the server did has to be what the client noticed."""
    record = good_record()
    record.outages.clear()
    assert broken(record) == ["connection reset", "silence", "restart and 503"]


async def test_faults_have_to_be_whole():
    """A silence that is too short, or a replay that is too small, is none."""
    record = good_record()
    record.deeds = [
        *DEEDS[:2],
        Deed(text="", fault=Fault.SILENCE, seconds=1.0),
        DEEDS[3],
        Deed(text="", fault=Fault.REPLAY, messages=2),
    ]
    record.stats = StreamStats(duplicates=2)
    assert broken(record) == ["silence", "overlapping replay"]
