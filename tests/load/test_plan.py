"""What a plan works out, and what it refuses."""

import pytest

from resilient_sse.testing.load import PRESETS, LoadPlan, Share, parse_profiles


@pytest.mark.parametrize(
    "text,expected",
    [
        ("4g", (Share("4g", 1.0),)),
        ("slow-3g:20,4g:80", (Share("slow-3g", 20), Share("4g", 80))),
        (" 3g : 0.5 , wifi", (Share("3g", 0.5), Share("wifi", 1.0))),
    ],
)
def test_profiles(text, expected):
    """R169: shares of networks."""
    assert parse_profiles(text) == expected


@pytest.mark.parametrize(
    "text", ["", "4g:", "4g:x", "4g:0", "4g:-1", "4g:inf", "4g:nan", ":5", "4g,4g:2", "4g,"]
)
def test_profiles_that_cannot_be_read(text):
    """A list that makes no sense is refused by a sentence that quotes it."""
    with pytest.raises(ValueError, match=r"is not PROFILE|named twice"):
        parse_profiles(text)


def test_assignment():
    """R169: of 1,000 users 200 are on 3G and 800 on 4G, and so is every part of them in the order of opening."""
    names = LoadPlan(users=1000, profiles=(Share("3g", 20), Share("4g", 80))).assignment()
    assert names.count("3g") == 200
    for end in range(5, 1001, 5):
        assert names[:end].count("3g") == end // 5
    assert LoadPlan(users=3).assignment() == ["4g"] * 3
    assert sorted(LoadPlan(users=3, profiles=(Share("a"), Share("b"), Share("c"))).assignment()) == [
        "a",
        "b",
        "c",
    ]


def test_times():
    """Messages follow from the duration and the rate, or the duration from the messages."""
    assert LoadPlan(messages=30, rate=2.0).sending == 15
    assert LoadPlan(duration=120, rate=0.5).messages_each == 60
    assert LoadPlan().messages_each == 50
    assert LoadPlan(duration=0.1, rate=0.1, ramp=0).messages_each == 1
    assert LoadPlan(users=1000).ramping == 5.0
    assert LoadPlan(users=1000, ramp=1).ramping == 1
    plan = LoadPlan(users=1000, duration=120)
    assert 120 + plan.ramping < plan.limit < 300
    assert LoadPlan(deadline=9).limit == 9


@pytest.mark.parametrize(
    "wrong,text",
    [
        ({"users": 0}, "^users"),
        ({"users": 60_001}, "^users"),
        ({"messages": 0}, "^messages"),
        ({"messages": 1, "duration": 1}, "not both"),
        ({"duration": 0}, "^duration"),
        ({"rate": 0}, "^rate"),
        ({"rate": float("inf")}, "^rate"),
        ({"rate": float("nan")}, "^rate"),
        ({"drops": -1}, "^drops"),
        ({"ramp": -1}, "^ramp"),
        ({"deadline": 0}, "^deadline"),
        ({"dedup_window": 0}, "^dedup_window"),
        ({"drops": 1, "proxy": False}, "proxy=False"),
        ({"target": "http://host/"}, "proxy=False"),
        ({"profiles": ()}, "^profiles"),
        ({"users": 1000, "messages": 5}, "shorter ramp"),
        ({"ramp": 10, "duration": 9}, "send for longer"),
        ({"profiles": (Share("4g", 0),)}, "^profiles"),
    ],
)
def test_impossible_plans(wrong, text):
    """What cannot be done is refused at once, by the name of the argument."""
    with pytest.raises(ValueError, match=text):
        LoadPlan(**wrong)


def test_presets():
    """R168-R173, R206: the named runs ask for what the demands ask for."""
    ci, thousand, soak = PRESETS["ci"], PRESETS["thousand"], PRESETS["soak"]
    assert (ci.users, ci.messages_each, ci.profiles) == (100, 50, (Share("4g"),))
    assert (ci.limits.completion, ci.limits.p95, ci.limits.p99, ci.limits.longest) == (0.995, 4.2, 4.8, 5.0)
    assert ci.limits.reconnects == 200
    assert ci.limits.handling == 0.005
    assert ci.limit < ci.limits.seconds == 120
    for plan, seconds in ((thousand, 120), (soak, 1800)):
        assert (plan.users, plan.sending, plan.rate) == (1000, seconds, 1.0)
        assert plan.assignment().count("3g") == 200
        assert plan.limits.availability == 0.999
        assert plan.limits.cpu == 0.7
        assert plan.limits.resident == 2 * 1024**3
        assert plan.limits.growth == 1.0
        assert plan.limits.connections == 0.01
    assert PRESETS["ten-thousand"].users == 10_000


@pytest.mark.parametrize("name", ["thousand", "soak"])
def test_presets_can_be_passed(name):
    """R170: as many resets as planned, 1.2 s each, leave 99.9 % of the time."""
    plan = PRESETS[name]
    assert plan.drops * plan.sending / 60 * 1.2 < 0.001 * plan.users * plan.sending
