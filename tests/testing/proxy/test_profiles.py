"""Profiles: the figures of the report, and what is refused."""

import math

import pytest

from resilient_sse.testing.proxy import PROFILES, Profile, profile
from tests.docs.pages import table, text_of


def test_no_named_profile_loses_anything():
    """R19, R167: loss is a fault of its own."""
    assert {made.loss for made in PROFILES.values()} == {0}


def test_a_profile_is_known_by_its_own_name():
    """What `profile(...)` returns can be found again by the name it carries."""
    assert all(made.name == name for name, made in PROFILES.items())
    assert {"slow-3g", "3g", "4g", "mobile-4g", "wifi", "5g", "clean"} <= set(PROFILES)
    own = Profile(name="own", down_kbps=7)
    assert profile(own) is own


@pytest.mark.parametrize(
    "values,complaint",
    [
        ({"down_kbps": 0}, "down_kbps must be a number of kbps above 0"),
        ({"up_kbps": -1}, "up_kbps must be a number of kbps above 0"),
        ({"down_kbps": math.nan}, "down_kbps must be"),
        ({"up_kbps": math.inf}, "up_kbps must be"),
        ({"latency": -0.1}, "latency must be a number of seconds, 0 or more"),
        ({"latency": math.nan}, "latency must be"),
        ({"jitter": 20}, r"jitter must be a share between 0 and 1 \(20 % is 0.2\), not 20"),
        ({"jitter": -0.1}, "jitter must be"),
        ({"loss": 1.1}, "loss must be a share"),
        ({"loss": math.nan}, "loss must be a share"),
        ({"loss_delay": -1}, "loss_delay must be"),
    ],
)
def test_impossible_figures_are_refused(values, complaint):
    """Impossible rates and times get an error that names the argument and what it may be."""
    with pytest.raises(ValueError, match=complaint):
        Profile(name="impossible", **values)


def test_the_reference_shows_these_figures():
    """R10, R11, R44, R45, R167: the page has every profile, with its figures."""

    def rate(kbps):
        return "no limit" if kbps is None else f"{kbps:,}"

    rows = table(
        text_of("lab/network-profiles.md"),
        *("profile", "down, kbps", "up, kbps", "latency, ms", "jitter"),
    )
    assert rows == [
        [
            f"`{made.name}`",
            rate(made.down_kbps),
            rate(made.up_kbps),
            f"{made.latency * 1000:g}",
            f"±{made.jitter:.0%}".replace("%", " %") if made.jitter else "none",
        ]
        for made in PROFILES.values()
    ]
