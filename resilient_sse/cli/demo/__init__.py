"""`resilient-sse demo`: a real server, a network that misbehaves, and a client that loses nothing."""

from __future__ import annotations

import os
import sys
from secrets import randbelow

from resilient_sse.cli.arguments import command, plain_option, seed_option
from resilient_sse.cli.exits import Exit

_SEEDS = 10_000


@command(
    "Watch a stream survive a bad network (about 20 s).",
    "Start a server on this machine, stream a reply of 50 messages from it over connections that break in four "
    "ways, and show that none is lost and none repeated.  Needs the extra resilient-sse[demo].",
    examples="resilient-sse demo\nresilient-sse demo --plain --seed 7",
    exits={0: "all promises were kept", 1: "one was not"},
)
@seed_option
@plain_option
def demo(*, seed: int | None, plain: bool) -> int:
    """Play the demo, show it, and return the exit code: 0 only if every promise was kept."""
    import anyio

    from resilient_sse.testing.extra import require

    require("the demo", "rich", extra="demo")
    from resilient_sse.cli.demo.view import play_and_show

    # The server is on this machine: a proxy that the environment names has no part in this.
    os.environ["no_proxy"] = "*"
    live = sys.stdout.isatty() and not plain
    judged = anyio.run(play_and_show, randbelow(_SEEDS) if seed is None else seed, live)
    if judged is None:
        return Exit.TERMINATED
    return Exit.ENDED if judged.passed else Exit.GAVE_UP
