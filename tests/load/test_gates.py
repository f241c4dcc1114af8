"""Each gate fails for what it is there for, and for nothing else."""

from dataclasses import replace

import pytest

from resilient_sse.testing.load import Limits, LoadPlan, Spread
from resilient_sse.testing.load.result import judge
from tests.load.specimens import GOOD, QUICK, spoilt

PLAN = LoadPlan(
    users=100,
    messages=50,
    limits=Limits(availability=0.999, connections=0.01, reconnects=200, handling=2.0, seconds=120.0),
)


def broken(result, plan=PLAN):
    """Name the gates that were not passed."""
    return [gate.name for gate in judge(plan, result) if not gate.passed]


def test_all_is_well():
    """A good run passes every gate."""
    gates = judge(PLAN, GOOD)
    assert broken(GOOD) == []
    assert len({gate.name for gate in gates}) == len(gates) == 18


@pytest.mark.parametrize(
    "changes,expected",
    [
        ({"streams__completed": 99}, "streams that ended well"),
        ({"streams__crashes": 1}, "crashes"),
        ({"delivery__completion": 0.99499}, "completion"),
        ({"delivery__completion": None}, "completion"),
        ({"delivery__duplicates": 1}, "messages delivered twice"),
        ({"delivery__disorder": 1}, "messages out of order"),
        ({"delivery__gaps": 1}, "gaps"),
        ({"streams__availability": 0.99899}, "availability"),
        ({"streams__availability": None}, "availability"),
        ({"connections__mean": 98.9}, "connections at the server"),
        ({"connections__mean": 101.1}, "connections at the server"),
        ({"connections__mean": None}, "connections at the server"),
        ({"connections__excess": 1}, "connections beyond users and reconnecting"),
        ({"connections__excess": None}, "connections beyond users and reconnecting"),
        ({"seconds": 120.0}, "duration"),
        ({"times__recovery": replace(QUICK, count=199)}, "reconnects measured"),
        ({"times__recovery": replace(QUICK, p95=4.2)}, "reconnect p95"),
        ({"times__recovery": replace(QUICK, p99=4.8)}, "reconnect p99"),
        ({"times__recovery": replace(QUICK, maximum=5.0)}, "reconnect maximum"),
        ({"times__handling": replace(QUICK, p99=2.0)}, "bytes to event p99"),
        ({"times__handling": Spread()}, "bytes to event p99"),
        ({"process__cpu": 0.7}, "CPU of the client, of one core"),
        ({"process__cpu": None, "process__cpu_overall": 0.7}, "CPU of the client, of one core"),
        ({"process__cpu": None, "process__cpu_overall": None}, "CPU of the client, of one core"),
        ({"process__resident_peak": 2 * 1024**3}, "memory of the client"),
        ({"process__resident_peak": None}, "memory of the client"),
        ({"process__growth": 1.0}, "growth of memory in 10 min"),
    ],
)
def test_each_gate_can_fail(changes, expected):
    """R5, R86-R88, R168-R173, R206, P40: one figure beyond its limit, or unknown, breaks the gate of its name."""
    assert broken(spoilt(**changes)) == [expected]


def test_at_the_limit():
    """What must be reached is reached exactly; what must stay below is not allowed to be equal (above)."""
    good = spoilt(
        delivery__completion=0.995,
        streams__availability=0.999,
        connections__mean=99.0,
        connections__excess=0,
        times__recovery=replace(QUICK, count=200, p95=4.19, p99=4.79, maximum=4.99),
    )
    assert broken(good) == []


def test_figures_are_not_rounded_up():
    """99.8999 % is not shown as 99.9 %, next to a limit of 99.9 %."""
    (gate,) = [
        gate for gate in judge(PLAN, spoilt(streams__availability=0.9989999)) if gate.name == "availability"
    ]
    assert (gate.found, gate.wanted, gate.passed) == ("99.899 %", ">= 99.9 %", False)


def test_short_runs():
    """A run that is too short for a slope, or without a reconnect, is not failed for what it cannot show."""
    plan = LoadPlan(users=100, messages=50)
    assert broken(spoilt(process__growth=None, times__recovery=Spread()), plan) == []
    assert broken(spoilt(times__recovery=Spread())) == [
        "reconnects measured",
        "reconnect p95",
        "reconnect p99",
        "reconnect maximum",
    ]


def test_target():
    """Of a server of the user's own, connections and what it sent are not known."""
    plan = LoadPlan(users=100, duration=10, proxy=False, target="http://host/")
    result = spoilt(
        streams__completed=0,
        delivery__sent=None,
        delivery__completion=None,
        connections__mean=None,
        connections__excess=None,
    )
    assert broken(result, plan) == []
    assert broken(replace(result, streams=replace(result.streams, failed=1)), plan) == [
        "streams that ended well"
    ]
    counted = LoadPlan(users=100, messages=10, proxy=False, target="http://host/")
    assert broken(result, counted) == ["streams that ended well"]
