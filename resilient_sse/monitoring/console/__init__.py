"""
The side of `resilient-sse top` that is inside the program: its streams, shown to other processes on this machine.

```python
console = Console()
stream = ResilientStream(url, observers=[console.named("prices")])
async with console:
    ...
```
"""

from resilient_sse.monitoring.console.register import EventTime
from resilient_sse.monitoring.console.server import Console

__all__ = ["Console", "EventTime"]
