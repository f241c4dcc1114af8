"""
Six production scenarios, each a description that is played on any stage: in memory or over real sockets.

A run concludes nothing.  It leaves a raw log, from which every figure is computed: those of one scenario by its
own module, which has all there is to know of it, those that all have by `resilient_sse.testing.report`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from resilient_sse.testing.scenarios.gates import Figures as Figures
from resilient_sse.testing.scenarios.gates import Gate as Gate
from resilient_sse.testing.scenarios.gates import GateResult as GateResult
from resilient_sse.testing.scenarios.handoff import HANDOFF
from resilient_sse.testing.scenarios.log import Entry as Entry
from resilient_sse.testing.scenarios.log import Run as Run
from resilient_sse.testing.scenarios.log import RunLog as RunLog
from resilient_sse.testing.scenarios.packet_loss import PACKET_LOSS
from resilient_sse.testing.scenarios.play import Chart as Chart
from resilient_sse.testing.scenarios.play import Follower as Follower
from resilient_sse.testing.scenarios.play import Play as Play
from resilient_sse.testing.scenarios.play import Scenario as Scenario
from resilient_sse.testing.scenarios.play import Scene as Scene
from resilient_sse.testing.scenarios.play import Settings as Settings
from resilient_sse.testing.scenarios.play import play as play
from resilient_sse.testing.scenarios.play import play_all as play_all
from resilient_sse.testing.scenarios.play import play_at_once as play_at_once
from resilient_sse.testing.scenarios.rapid_reconnects import RAPID_RECONNECTS
from resilient_sse.testing.scenarios.slow_3g import SLOW_3G
from resilient_sse.testing.scenarios.stage import Driver as Driver
from resilient_sse.testing.scenarios.stage import Setup as Setup
from resilient_sse.testing.scenarios.stage import Stage as Stage
from resilient_sse.testing.scenarios.stage import VirtualDriver as VirtualDriver
from resilient_sse.testing.scenarios.stall import STALL
from resilient_sse.testing.scenarios.user_experience import USER_EXPERIENCE

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (SLOW_3G, STALL, PACKET_LOSS, HANDOFF, RAPID_RECONNECTS, USER_EXPERIENCE)
    }
)
"""All six, by the names they have on the command line, in the order of the report."""
