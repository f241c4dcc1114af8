"""The reference server with something wrong: `python sabotaged_server.py WHAT serve ...`."""

import asyncio
import os
import sys

from resilient_sse.cli import main
from resilient_sse.testing import server as kit
from resilient_sse.testing.server.app import ReferenceServer

LOST = 5


class LosingStore(kit.MemoryStore):
    """Gives every event but one again."""

    async def after(self, stream, id, limit):  # noqa: A002 - as in the store
        """Leave one out."""
        return [event for event in await super().after(stream, id, limit) if event.id != LOST]


def lose():
    """Never send one event, neither live nor again."""
    announce = Topics.announce

    def announce_others(self, stored):
        if stored.id != LOST:
            announce(self, stored)

    kit.MemoryStore = LosingStore
    Topics.announce = announce_others


def die():
    """End without a word after a second of service."""
    enter = ReferenceServer.enter

    def enter_and_die(self, *arguments):
        asyncio.get_running_loop().call_later(1.0, os._exit, 9)
        return enter(self, *arguments)

    ReferenceServer.enter = enter_and_die


def endless():
    """Never complete."""
    sys.argv.remove("--complete")


if __name__ == "__main__":
    {"lose": lose, "die": die, "endless": endless}[sys.argv.pop(1)]()
    sys.exit(main(sys.argv[1:]))
