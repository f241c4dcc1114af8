"""
Write each event into a database exactly once: `python examples/sql_worker.py http://127.0.0.1:8000/orders`.

The results and the position are one transaction, so whenever the program is killed, both are there or neither.
The database is SQLite, in `orders.db` or in the file that `DATABASE` names; for another, change `connect`, and the
marks of the parameters.
"""

import asyncio
import logging
import os
import signal
import sqlite3
import sys
from contextlib import closing

from resilient_sse import ResilientSSEError, ResilientStream, ServerSentEvent
from resilient_sse.checkpoints import SQLCheckpoint

CREATE = "CREATE TABLE IF NOT EXISTS orders (number INTEGER, item TEXT)"


def connect() -> sqlite3.Connection:
    return sqlite3.connect(os.environ.get("DATABASE", "orders.db"))


checkpoint = SQLCheckpoint(connect)


def store(event: ServerSentEvent) -> None:
    with closing(connect()) as database, database:  # commits, or rolls back
        database.execute("INSERT INTO orders VALUES (?, ?)", (event.id, event.json()["item"]))
        checkpoint.record(database, event)


def close_on_signals(stream: ResilientStream) -> None:
    """Have SIGTERM and Ctrl-C end the loop once the event at hand is stored."""
    loop, closing_tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: closing_tasks.add(loop.create_task(stream.aclose())))


async def main(url: str) -> None:
    with closing(connect()) as database:
        database.execute(CREATE)
        database.execute(checkpoint.ddl)  # the table of positions; with migrations, put both there
    async with ResilientStream(
        url,
        checkpoint=checkpoint,
        ack="manual",  # the transaction saves the position
        max_retries=None,
    ) as stream:
        close_on_signals(stream)
        async for event in stream:
            await asyncio.to_thread(store, event)  # a database may take its time


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the URL with its query
    try:
        asyncio.run(main(sys.argv[1]))
    except ResilientSSEError as error:
        sys.exit(f"the stream cannot go on: {error}")
