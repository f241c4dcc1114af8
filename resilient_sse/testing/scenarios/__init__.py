"""
Six production scenarios, each a description that is played on any stage: in memory or over real sockets.

```python
log = run_in_virtual_time(play, SCENARIOS["stall"], VirtualDriver(seed=1))
```

A run concludes nothing.  It leaves a raw log, from which every figure is computed: those of one scenario by its
own module, which has all there is to know of it, those that all have by `resilient_sse.testing.report`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from resilient_sse.testing.memory_server import Answer, Busy, HoldAfter, Withhold
from resilient_sse.testing.scenarios.gates import Figures, Gate, Verdict
from resilient_sse.testing.scenarios.handoff import HANDOFF
from resilient_sse.testing.scenarios.log import Entry, Run, RunLog, write_log
from resilient_sse.testing.scenarios.packet_loss import PACKET_LOSS
from resilient_sse.testing.scenarios.play import (
    Chart,
    Follower,
    Play,
    Scenario,
    Scene,
    Settings,
    play,
    play_all,
    play_at_once,
)
from resilient_sse.testing.scenarios.rapid_reconnects import RAPID_RECONNECTS
from resilient_sse.testing.scenarios.slow_3g import SLOW_3G
from resilient_sse.testing.scenarios.stage import Driver, Setup, Stage, VirtualDriver
from resilient_sse.testing.scenarios.stall import STALL
from resilient_sse.testing.scenarios.user_experience import USER_EXPERIENCE

__all__ = [
    "SCENARIOS",
    "Answer",
    "Busy",
    "Chart",
    "Driver",
    "Entry",
    "Figures",
    "Follower",
    "Gate",
    "HoldAfter",
    "Play",
    "Run",
    "RunLog",
    "Scenario",
    "Scene",
    "Settings",
    "Setup",
    "Stage",
    "Verdict",
    "VirtualDriver",
    "Withhold",
    "play",
    "play_all",
    "play_at_once",
    "write_log",
]

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (SLOW_3G, STALL, PACKET_LOSS, HANDOFF, RAPID_RECONNECTS, USER_EXPERIENCE)
    }
)
"""All six, by the names they have on the command line, in the order of the report."""
