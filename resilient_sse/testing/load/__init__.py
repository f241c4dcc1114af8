"""Many streams at once against a real server over bad networks, and what it costs the client."""

from resilient_sse.testing.extra import MissingExtraError as MissingExtraError
from resilient_sse.testing.load.children import ChildError as ChildError
from resilient_sse.testing.load.plan import PRESETS as PRESETS
from resilient_sse.testing.load.plan import Limits as Limits
from resilient_sse.testing.load.plan import LoadPlan as LoadPlan
from resilient_sse.testing.load.plan import Share as Share
from resilient_sse.testing.load.plan import parse_profiles as parse_profiles
from resilient_sse.testing.load.result import Connections as Connections
from resilient_sse.testing.load.result import LoadDelivery as LoadDelivery
from resilient_sse.testing.load.result import LoadGate as LoadGate
from resilient_sse.testing.load.result import LoadResult as LoadResult
from resilient_sse.testing.load.result import Machine as Machine
from resilient_sse.testing.load.result import Process as Process
from resilient_sse.testing.load.result import Spread as Spread
from resilient_sse.testing.load.result import Streams as Streams
from resilient_sse.testing.load.result import Times as Times
from resilient_sse.testing.load.run import OpenFilesError as OpenFilesError
from resilient_sse.testing.load.run import Progress as Progress
from resilient_sse.testing.load.run import check as check
from resilient_sse.testing.load.run import run_load as run_load
