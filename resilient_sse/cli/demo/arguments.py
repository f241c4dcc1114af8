"""What `demo` accepts."""

from __future__ import annotations

from dataclasses import dataclass

import click

from resilient_sse.cli.arguments import command, option, plain_option, seed_option

__all__ = ["DemoOptions", "demo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What `demo` was asked for."""

    seed: int | None = None
    plain: bool = False
    sabotage: str | None = None


@command(
    "Start a server on this machine, stream a reply of 50 messages from it over connections that break in four "
    "ways, and show that none is lost and none repeated.  Needs the extra resilient-sse[demo].",
    examples="resilient-sse demo\nresilient-sse demo --plain --seed 7",
    exits={0: "all promises were kept", 1: "one was not"},
)
@seed_option
@plain_option
# For tests of the demo's own checks: a server that really does wrong must be found out.
@option("--sabotage", type=click.Choice(["calm", "lose", "repeat"]), hidden=True)
def demo(*, seed: int | None, plain: bool, sabotage: str | None) -> int:
    """Run the demo."""
    from resilient_sse.cli.demo import run_demo

    return run_demo(DemoOptions(seed=seed, plain=plain, sabotage=sabotage))
