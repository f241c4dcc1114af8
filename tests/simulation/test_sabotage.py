"""The checker can fail: each sabotaged client or server is caught, by the invariant that is meant for it."""

from itertools import count

import pytest

from tests.simulation.check import check
from tests.simulation.generate import generate
from tests.simulation.run import play
from tests.simulation.sabotage import PLANS, SABOTAGES
from tests.simulation.sweep import broken_by

MOST_SEEDS = 1500

FIRSTS = set({wanted: sabotage for sabotage, wanted in reversed(SABOTAGES.items())}.values())
"""One sabotage for each invariant; the others are a proof."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "sabotage",
    [pytest.param(each, marks=() if each in FIRSTS else pytest.mark.proof) for each in SABOTAGES],
    ids=lambda sabotage: sabotage.__name__,
)
@pytest.mark.slow
def test_every_sabotage_is_caught(sabotage, record_property):
    """A fault in the client or the server breaks the promise it is about (R8, R27, R28, R64-R66)."""
    wanted = SABOTAGES[sabotage]
    with sabotage():
        for seed in count():
            assert seed < MOST_SEEDS, f"{wanted} was not broken in {MOST_SEEDS} runs"
            if wanted in broken_by(PLANS.get(sabotage) or generate(seed)):
                record_property("seeds", seed + 1)
                return


def test_nothing_is_caught_without_one():
    """The plan that catches the slow close passes with the real client."""
    assert all(check(play(plan)) == [] for plan in PLANS.values())
