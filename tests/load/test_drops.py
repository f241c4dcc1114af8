"""When connections are reset."""

from itertools import islice
from random import Random

import pytest

from resilient_sse.testing.load import LoadPlan, Share
from resilient_sse.testing.load.drops import drops

PLAN = LoadPlan(profiles=(Share("3g", 20), Share("4g", 80)), drops=300)


def test_rate_and_shares():
    """R169: 300 a minute are one each 0.2 s on average, four in five of them on 4G."""
    drawn = list(islice(drops(PLAN, Random(1)), 5000))
    assert sum(wait for wait, _ in drawn) / 5000 == pytest.approx(0.2, rel=0.1)
    assert sum(name == "4g" for _, name in drawn) / 5000 == pytest.approx(0.8, rel=0.05)
    assert sum(wait < 0.02 for wait, _ in drawn) > 250  # some come in bunches


def test_seed():
    """The same seed draws the same."""
    first, second, other = (list(islice(drops(PLAN, Random(seed)), 20)) for seed in (1, 1, 2))
    assert first == second != other


def test_none():
    """Without drops there are none."""
    assert list(drops(LoadPlan(), Random(1))) == []
