"""What nft and tc are told, without either."""

from fractions import Fraction

import pytest

from tests.netns.faults import (
    Arrivals,
    check_direction,
    check_links,
    loss_share,
    ruleset,
    shaper,
)

pytestmark = pytest.mark.proof


def test_loss_is_drawn_for_each_packet():
    """Design 4: one of ten is `numgen random mod 10 < 1`, counted and dropped on arrival."""
    rules = ruleset({"wifi": Arrivals(loss=loss_share(0.1))})
    assert "hook prerouting" in rules
    assert 'iifname "wifi" numgen random mod 10 < 1 counter name "lost_wifi" drop\n' in rules


def test_a_cut_comes_before_loss():
    """All packets of a cut link are dropped, and counted as cut; other links are not touched."""
    rules = ruleset({"wifi": Arrivals(loss=Fraction(1, 2), cut=True), "mobile": Arrivals()})
    assert 'iifname "wifi" counter name "cut_wifi" drop\n' in rules
    assert "numgen" not in rules
    assert rules.count("drop") == 1


def test_rules_replace_those_before():
    """What was asked for before is forgotten in the same step, but for the counters."""
    rules = ruleset({"wifi": Arrivals()}).splitlines()
    assert rules.index("flush chain ip fault arriving") < rules.index(
        'add rule ip fault arriving iifname "wifi" counter name "seen_wifi"'
    )
    assert not any("reset" in rule for rule in rules)


@pytest.mark.parametrize(
    "share,exact",
    [(0, 0), (0.0, 0), (0.1, Fraction(1, 10)), (0.25, Fraction(1, 4)), (1 / 3, Fraction(1, 3)), (1, 1)],
)
def test_shares_are_exact(share, exact):
    """R32: floating point does not make one of ten into something else."""
    assert loss_share(share) == exact


@pytest.mark.parametrize("share", [-0.1, 1.01, 10, float("nan"), float("inf"), 1e-9])
def test_impossible_shares(share):
    """10 is surely meant as 10 %, and what cannot be drawn is not taken as nothing."""
    with pytest.raises(ValueError, match=r"a share of packets is .* not "):
        loss_share(share)


def test_a_bucket_lets_one_frame_pass():
    """R10: at 100 kbps a burst is little more than a full frame, or short streams would not feel the rate."""
    assert shaper(100) == ("tbf", "rate", "100000bit", "burst", "1600b", "latency", "500ms")


def test_a_bucket_grows_with_the_rate():
    """At 100 Mbps, 10 ms are 125 kB: a smaller burst would be emptied before the next tick."""
    assert shaper(100_000)[4] == "125000b"


@pytest.mark.parametrize("kbps", [0, -1, 0.5, 1e9, float("nan"), float("inf")])
def test_impossible_rates(kbps):
    """A rate that no link has is refused, and the error says which are possible."""
    with pytest.raises(ValueError, match="a rate is between 1 and 1e\\+07 kbps"):
        shaper(kbps)


@pytest.mark.parametrize("direction", ["", "left", "DOWN"])
def test_unknown_directions(direction):
    """The error names the known ones."""
    with pytest.raises(ValueError, match="'down' \\(to the client\\), 'up' or 'both'"):
        check_direction(direction)


@pytest.mark.parametrize(
    "links",
    [
        (),
        ("wifi", "wifi"),
        ("lo",),
        ("a",),
        ("x" * 13,),
        ("Wi-Fi",),
        ('w"i',),
        tuple(f"w{n}" for n in range(201)),
    ],
)
def test_unusable_links(links):
    """What cannot be an interface's name, or would break the rules it is written into, is refused."""
    with pytest.raises(ValueError, match="link"):
        check_links(links)
