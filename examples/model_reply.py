"""
Ask a language model, and print its answer as it comes.

    python examples/model_reply.py http://127.0.0.1:8000/v1/chat/completions "Tell me a story"

The API is that of OpenAI's chat completions, which many servers speak.  `API_KEY` and `MODEL` are read from the
environment.
"""

import os
import sys

import anyio

from resilient_sse import (
    NotResumableError,
    ResilientSSEError,
    ResilientStream,
    ServerSentEvent,
    StreamError,
    Verdict,
)

PASSING = {"overloaded", "rate_limit_exceeded", "server_error"}


def is_last(event: ServerSentEvent) -> bool:
    return event.data == "[DONE]"


def is_error(event: ServerSentEvent) -> bool:
    """Some servers answer 200, and say within the stream what went wrong."""
    return not is_last(event) and "error" in event.json()


def classify(error: ResilientSSEError) -> Verdict | None:
    """Try again what may pass, and what the defaults would."""
    if isinstance(error, StreamError) and error.event.json()["error"].get("code") not in PASSING:
        return Verdict.RAISE
    return None


async def main(url: str, prompt: str) -> None:
    body = {
        "model": os.environ.get("MODEL", "default"),
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
    }
    async with ResilientStream(
        url,
        method="POST",
        json=body,
        headers={"Authorization": f"Bearer {os.environ.get('API_KEY', 'none')}"},
        until=is_last,
        error_events=is_error,
        classify=classify,
        stall_timeout=120.0,  # the first word of a large model may take its time
    ) as stream:
        async for event in stream:
            if not is_last(event) and (choices := event.json()["choices"]):
                print(choices[0]["delta"].get("content") or "", end="", flush=True)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        anyio.run(main, sys.argv[1], sys.argv[2])
    except (
        NotResumableError
    ) as error:  # what has come is printed; to ask again would begin, and bill, another answer
        sys.exit(f"\nthe answer broke off: {error}")
    except ResilientSSEError as error:
        sys.exit(f"\nthere is no answer: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
