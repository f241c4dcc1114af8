"""`resilient-sse demo`: a real server, a network that misbehaves, and a client that loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_sse.cli.arguments import DemoOptions

__all__ = ["run_demo"]


def run_demo(options: DemoOptions) -> int:
    """
    Run the demo and return the exit code: 0 only if every promise was kept.

    Raises:
        OSError: The output cannot be written.
    """
    from resilient_sse.cli.demo.show import show  # noqa: PLC0415 - whoever asks for help alone needs none of it

    return show(seed=options.seed, plain=options.plain)
