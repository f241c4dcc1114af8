"""When connections are reset: at random moments, at a rate, on networks by their shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from resilient_sse.testing.load.plan import LoadPlan

__all__ = ["drops"]


def drops(plan: LoadPlan, random: Random) -> Iterator[tuple[float, str]]:
    """
    Draw the resets of a run: seconds to wait since the one before, and the profile that is struck.

    Moments are independent of each other (a Poisson process), as those of many users on their way are; that
    includes two at almost the same time.

    Args:
        plan: Of the run; without drops, nothing is drawn.
        random: The source of randomness.
    """
    if not plan.drops:
        return
    names = [part.profile for part in plan.profiles]
    weights = [part.weight for part in plan.profiles]
    while True:
        yield random.expovariate(plan.drops / 60), random.choices(names, weights)[0]
