"""The reference server with something wrong: `python sabotaged_server.py WHAT serve ...`."""

import asyncio
import os
import sys

from resilient_sse.cli import main
from resilient_sse.testing import server as kit

LOST = 5


class LosingStore(kit.MemoryStore):
    """Gives every event but one again."""

    async def after(self, stream, id, limit):  # noqa: A002 - as in the store
        """Leave one out."""
        return [event for event in await super().after(stream, id, limit) if event.id != LOST]


class DyingStore(kit.MemoryStore):
    """Ends the process without a word after a second of service."""

    async def append(self, stream, event, data):
        """Arrange for the end."""
        asyncio.get_running_loop().call_later(1.0, os._exit, 9)
        return await super().append(stream, event, data)


if __name__ == "__main__":
    match sys.argv.pop(1):
        case "lose":
            kit.MemoryStore = LosingStore
        case "die":
            kit.MemoryStore = DyingStore
        case "endless":
            sys.argv.remove("--complete")
    sys.exit(main(sys.argv[1:]))
