"""`python -m resilient_sse`: the command `resilient-sse`, where its script is not on the path."""

import sys

from resilient_sse.cli import main

if __name__ == "__main__":
    sys.exit(main())
