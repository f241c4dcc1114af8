"""
Six production scenarios, each a description that is played on any stage: in memory or over real sockets.

```python
log = run_in_virtual_time(play, SCENARIOS["stall"], VirtualDriver(seed=1))
```

A run concludes nothing.  It leaves a raw log, from which `resilient_sse.testing.report` computes every figure.
"""

from collections.abc import Mapping
from types import MappingProxyType

from resilient_sse.testing.scenarios.follow import Follower, Settings
from resilient_sse.testing.scenarios.handoff import HANDOFF
from resilient_sse.testing.scenarios.log import Entry, RunLog, read_log, write_log
from resilient_sse.testing.scenarios.packet_loss import PACKET_LOSS
from resilient_sse.testing.scenarios.play import Play, Scenario, Scene, play
from resilient_sse.testing.scenarios.rapid_reconnects import RAPID_RECONNECTS
from resilient_sse.testing.scenarios.slow_3g import SLOW_3G
from resilient_sse.testing.scenarios.stage import (
    Answer,
    Busy,
    Driver,
    Form,
    HoldAfter,
    Setup,
    Stage,
    Withhold,
)
from resilient_sse.testing.scenarios.stall import STALL
from resilient_sse.testing.scenarios.together import play_all, play_at_once
from resilient_sse.testing.scenarios.user_experience import USER_EXPERIENCE
from resilient_sse.testing.scenarios.virtual import VirtualDriver

__all__ = [
    "SCENARIOS",
    "Answer",
    "Busy",
    "Driver",
    "Entry",
    "Follower",
    "Form",
    "HoldAfter",
    "Play",
    "RunLog",
    "Scenario",
    "Scene",
    "Settings",
    "Setup",
    "Stage",
    "VirtualDriver",
    "Withhold",
    "play",
    "play_all",
    "play_at_once",
    "read_log",
    "write_log",
]

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (SLOW_3G, STALL, PACKET_LOSS, HANDOFF, RAPID_RECONNECTS, USER_EXPERIENCE)
    }
)
"""All six, by the names they have on the command line, in the order of the report."""
