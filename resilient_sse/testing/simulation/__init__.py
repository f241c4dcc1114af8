"""
Seeded simulation: random faults at every step, one seed for each run, and a log of truth to check it against.

```python
from resilient_sse.testing.simulation import check, generate, play

record = play(generate(seed=7))
assert check(record) == []
```

`python -m resilient_sse.testing.simulation --help` does the same from a shell.
"""

from resilient_sse.testing.simulation.check import check
from resilient_sse.testing.simulation.coverage import FAULTS, TRANSITION_NAMES, Failure, Tally
from resilient_sse.testing.simulation.features import FEATURES
from resilient_sse.testing.simulation.generate import generate
from resilient_sse.testing.simulation.herd import Herd, Wait, herd_of_delays
from resilient_sse.testing.simulation.herd_run import Arrivals, herd_of_streams
from resilient_sse.testing.simulation.plan import Answer, Deed, Options, Plan
from resilient_sse.testing.simulation.record import Note, Record, Seen, Violation
from resilient_sse.testing.simulation.run import play
from resilient_sse.testing.simulation.sweep import broken_by, shrunk, sweep, try_plan

__all__ = [
    "FAULTS",
    "FEATURES",
    "TRANSITION_NAMES",
    "Answer",
    "Arrivals",
    "Deed",
    "Failure",
    "Herd",
    "Note",
    "Options",
    "Plan",
    "Record",
    "Seen",
    "Tally",
    "Violation",
    "Wait",
    "broken_by",
    "check",
    "generate",
    "herd_of_delays",
    "herd_of_streams",
    "play",
    "shrunk",
    "sweep",
    "try_plan",
]
