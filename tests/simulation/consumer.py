"""How the consumer of a run makes its streams, and what it gives them to call."""

from dataclasses import replace
from random import Random

from anyio.lowlevel import checkpoint

from resilient_sse import BadStatusError, ConnectionLostError, ResilientStream, integers, resume
from tests.simulation.plan import Dialect
from tests.simulation.server import PARAM, URL

BODY = b'{"topic":"simulation"}'
"""What a POST says."""

OWN_HEADERS = ("authorization", "cookie", "x-own")
"""Headers that only the caller gives."""

_DIALECTS = {
    Dialect.HEADER: {},
    Dialect.QUERY: resume.query(PARAM, header=False),
    Dialect.JSON: resume.json_field("n", PARAM),
    Dialect.LOCATION: resume.location(),
}


class Consumer:
    """
    Makes one stream for each process of the consumer.

    Args:
        plan: The plan.
        observe: Is told every fact.
        told: Is told what the callbacks are told, if there are any beside an observer.
    """

    def __init__(self, plan, observe, told):
        self._options, self._observe, self._told = plan.options, observe, told
        self._sources = Random(plan.seed)
        self._calls = self._tokens = 0
        self.raised = 0
        """How often what the present stream calls has failed."""

    def stream(self, client, store):
        """Make the stream of a new process."""
        self.raised = 0
        return ResilientStream(URL, client=client, **self.arguments(store))

    def arguments(self, store):
        """Return its arguments."""
        options = self._options
        found = {
            name: getattr(options, name)
            for name in ("dedup", "dedup_window", "stall_timeout", "event_timeout", "stall_on", "on_eof")
        }
        found |= {name: getattr(options, name) for name in ("max_retries", "max_server_delay", "compression")}
        found |= _DIALECTS[options.dialect]
        if store is not None:
            found |= {"checkpoint": store, "ack": options.ack}
        if options.post:
            found |= {"method": "POST", "content": _spent_after() if options.once else BODY}
        if options.token != "none":
            found["headers"] = self._fresh if options.token == "fresh" else _headers(0)
        if options.classify:
            found["classify"] = self._classify
        if options.filtered:
            found["events"] = lambda event: event.event != "other"
        if options.numbered:
            found["sequence"] = integers
        if options.watched:
            found["until"] = "done"
        # Each stream gets a source of jitter of its own.
        found["backoff"] = replace(options.pace, random=Random(self._sources.random()).random)
        return found | self._watchers()

    def _watchers(self):
        if not self._options.watched:
            return {"on_state_change": self._observe, "on_gap": self._observe}
        if not self._options.raises:
            return {"observers": [self._observe]}
        # The one that fails comes first: it must not keep the other from being told.
        observers = [self._fail_now_and_then, self._observe]
        return {"observers": observers, "on_state_change": self._called, "on_gap": self._called}

    async def _fresh(self):
        await checkpoint()
        self._tokens += 1
        return _headers(self._tokens)

    async def _called(self, fact):
        self._told(fact)
        await checkpoint()
        self._fail_now_and_then(fact)

    def _fail_now_and_then(self, fact):
        self._calls += 1
        if self._calls % self._options.raises == 0:
            self.raised += 1
            raise RuntimeError(f"the consumer fails over {type(fact).__name__}")

    def _classify(self, error):
        if isinstance(error, BadStatusError):
            return self._options.rule(error.status)
        return self._options.rule(error.reason) if isinstance(error, ConnectionLostError) else None


def token_in(authorization):
    """Return the number of a token."""
    return int(authorization.removeprefix("Bearer "))


def _headers(token):
    return {"Authorization": f"Bearer {token}", "X-Own": "yes", "Cookie": "own=yes"}


async def _spent_after():
    yield BODY
