"""The networks with something wrong: at the first order everything is reset, and refused for eight seconds."""

import anyio

from resilient_sse.testing.load import network
from resilient_sse.testing.proxy import FaultProxy

ORDERED = False
PROXIES = []


class Proxy(FaultProxy):
    """A proxy that can be found."""

    async def __aenter__(self):
        """Note it."""
        PROXIES.append(self)
        return await super().__aenter__()


async def away(lines):
    """Wait for the order, and take every network away."""
    while not ORDERED:  # noqa: ASYNC110 - the order comes from a function that knows no event loop
        await anyio.sleep(0.05)
    async with anyio.create_task_group() as tasks:
        for proxy in PROXIES:
            tasks.start_soon(lambda proxy=proxy: proxy.flap(1, down=8.0))


def order(_line):
    """Take note of the first order."""
    global ORDERED  # noqa: PLW0603 - a script of one purpose
    ORDERED = True


obey = network._obey


async def obey_and_fail(lines):
    """Do both until there are no more orders."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(away, lines)
        await obey(lines)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    network.FaultProxy = Proxy
    network.Line.reset_one = order
    network._obey = obey_and_fail
    network.main()
