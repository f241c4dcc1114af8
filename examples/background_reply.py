"""
Have an answer made in the background, and print it, over as many connections and runs of this program as it takes.

    python examples/background_reply.py http://127.0.0.1:8000/v1/responses story-1 "Tell me a story"

The API is that of OpenAI's background responses: a POST makes the answer, a GET gives on what follows a number.
The position is stored in `positions.db` under the name, `story-1`.  Stopped and started again, the program sends
no second POST.  `API_KEY` and `MODEL` are read from the environment.
"""

import os
import sys

import anyio

from resilient_sse import ResilientSSEError, ResilientStream, ServerSentEvent, resume
from resilient_sse.checkpoints import SQLiteCheckpoint

ENDS = {"response.completed", "response.incomplete", "response.failed"}


def is_last(event: ServerSentEvent) -> bool:
    return event.event in ENDS


async def main(url: str, name: str, prompt: str) -> None:
    body = {
        "model": os.environ.get("MODEL", "default"),
        "input": prompt,
        "background": True,
        "stream": True,
    }
    async with ResilientStream(
        url,
        method="POST",
        json=body,
        headers={"Authorization": f"Bearer {os.environ.get('API_KEY', 'none')}"},
        until=is_last,
        checkpoint=SQLiteCheckpoint("positions.db"),
        checkpoint_key=name,
        stall_timeout=120.0,  # the first word of a large model may take its time
        **resume.response(),
    ) as stream:
        async for event in stream:
            if event.event == "response.output_text.delta":
                print(event.json()["delta"], end="", flush=True)
            elif is_last(event):
                print(f"\n[{event.event}]", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
    except ResilientSSEError as error:
        sys.exit(f"\nthe answer cannot be read: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
