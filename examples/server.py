"""
A server for the other examples: `uvicorn server:app --app-dir examples`, then run one of them.

It knows fifty messages, sends one each 20 ms, and ends each answer after 20 of them, as some proxies do, so that
clients have something to mend.  Each path resumes as the servers do that it stands for.

Needs the extra `demo`.
"""

import json
from collections.abc import AsyncIterator, Callable
from itertools import count

import anyio
from sse_starlette import EventSourceResponse
from sse_starlette import ServerSentEvent as Block
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MESSAGES = 50
ENDS_AFTER = 20
SECONDS_BETWEEN = 0.02
OVERLOADED = {"code": "overloaded", "message": "try again"}
chats, flags = count(1), {"version": 1}


def stream(
    block: Callable[[int], Block], after: int, last: int | None = None, ends_after: int = ENDS_AFTER
) -> Response:
    """Send the blocks behind a number, up to the last; without one, for ever."""

    async def blocks() -> AsyncIterator[Block]:
        for number in range(after + 1, after + 1 + ends_after):
            while last is None and number > MESSAGES:  # noqa: ASYNC110 - it is for ever
                await anyio.sleep(SECONDS_BETWEEN)
            if last is None or number <= last:
                yield block(number)
                await anyio.sleep(SECONDS_BETWEEN)

    return EventSourceResponse(blocks())


def block(body: object, event: str | None = None, id: str | None = None) -> Block:  # noqa: A002 - the field's name
    return Block(json.dumps(body), event=event, id=id, retry=100)


def cursor(request: Request, default: int = 0) -> int:
    return int(request.headers.get("Last-Event-ID", default))


async def reply(request: Request) -> Response:
    """Numbered messages, and a `done` event behind them."""

    def message(number: int) -> Block:
        if number > MESSAGES:
            return block({}, "done")
        return block({"text": f"message {number} of {MESSAGES}. "}, id=str(number))

    return stream(message, cursor(request), MESSAGES + 1)


async def orders(request: Request) -> Response:
    """Numbered orders, without an end."""
    return stream(lambda number: block({"item": f"item {number}"}, id=str(number)), cursor(request))


async def chat(_request: Request) -> Response:
    """A model's answer to a POST: no ids, a sentinel at the end; the first one fails under a status of 200."""

    def delta(number: int) -> Block:
        if number > MESSAGES:
            return Block("[DONE]")
        return block({"choices": [{"delta": {"content": f"word {number} "}}]})

    if next(chats) == 1:
        return stream(lambda _: block({"error": OVERLOADED}), 0, 1)
    return stream(delta, 0, MESSAGES + 1, ends_after=MESSAGES + 1)


async def responses(request: Request) -> Response:
    """A model's answer that a POST makes, and a GET gives on behind a number."""

    def part(number: int) -> Block:
        ends = {0: "response.created", MESSAGES + 1: "response.completed"}
        kind = ends.get(number, "response.output_text.delta")
        body = {
            "type": kind,
            "sequence_number": number,
            "delta": f"word {number} ",
            "response": {"id": "resp_1"},
        }
        return block(body, kind)

    return stream(part, int(request.query_params.get("starting_after", -1)), MESSAGES + 1)


async def changes(request: Request) -> Response:
    """Wikimedia's stream: ids are positions of partitions, it begins at them, and canaries test the line."""

    def change(number: int) -> Block:
        domain = "canary" if number % 10 == 0 else "en.wikipedia.org"
        place = {"topic": "eqiad.mediawiki.recentchange", "partition": 0, "timestamp": number}
        meta = {"id": f"change-{number}", "domain": domain}
        return block({"title": f"Page {number}", "meta": meta}, "message", json.dumps([place]))

    asked = json.loads(request.headers.get("Last-Event-ID", '[{"timestamp": 1}]'))
    return stream(change, asked[0]["timestamp"] - 1)


async def hub(request: Request) -> Response:
    """A Mercure hub: the position is a query parameter, and the answer says from where it goes on."""
    asked = request.query_params.get("last_event_id", "urn:uuid:0")
    answer = stream(
        lambda number: Block(f"book {number}", id=f"urn:uuid:{number}", retry=100),
        int(asked.rpartition(":")[2]),
    )
    answer.headers["Mercure-Last-Event-ID"] = asked
    return answer


async def evaluate(request: Request) -> Response:
    """All flags, and where changes are told of."""
    tag = f'"{flags["version"]}"'
    if request.headers.get("If-None-Match") == tag:
        return Response(status_code=304)
    body = {
        "flags": [{"key": "limit", "value": flags["version"]}],
        "eventStreams": [{"type": "sse", "url": str(request.url_for("flag_changes"))}],
    }
    return JSONResponse(body, headers={"ETag": tag})


async def flag_changes(_request: Request) -> Response:
    """Tell of changes while somebody listens; of one that comes between two connections nobody is told."""
    flags["version"] += 1
    changing = flags["version"] < 5

    def change(_number: int) -> Block:
        flags["version"] += 1
        return block({"type": "refetchEvaluation"})

    return stream(change, MESSAGES - 3, MESSAGES) if changing else stream(change, MESSAGES)


app = Starlette(
    routes=[
        Route("/reply", reply),
        Route("/orders", orders),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/responses", responses, methods=["POST"]),
        Route("/v1/responses/resp_1", responses),
        Route("/v2/stream/recentchange", changes),
        Route("/.well-known/mercure", hub),
        Route("/ofrep/v1/evaluate/flags", evaluate, methods=["POST"]),
        Route("/ofrep/v1/events", flag_changes),
    ]
)
