"""
Print a chat reply as it comes: `python examples/chat_reply.py http://127.0.0.1:8000/reply`.

The URL is all there is to set.  What happens to the connection meanwhile goes to stderr.
"""

import sys

import anyio

from resilient_sse import ResilientSSEError, ResilientStream, StateChange


def show(change: StateChange) -> None:
    print(f"[{change.message}]", file=sys.stderr)


async def main(url: str) -> None:
    async with ResilientStream(url, until="done") as stream:
        stream.on_state_change(show)
        async for event in stream:
            if event.event != "done":
                print(event.json()["text"], end="", flush=True)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        anyio.run(main, sys.argv[1])
    except ResilientSSEError as error:
        sys.exit(f"the reply cannot be read: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
