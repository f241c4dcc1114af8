"""`resilient-sse demo`: a real server, a network that misbehaves, and a client that loses nothing."""

from __future__ import annotations

from resilient_sse.cli.arguments import command, plain_option, seed_option

__all__ = ["demo"]


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
    """Show the demo."""
    from resilient_sse.cli.demo.show import show

    return show(seed=seed, plain=plain)
