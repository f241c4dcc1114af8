"""
The pure half: bytes, times and random numbers in, decisions out.

Nothing in this package reads a clock, draws a random number, logs, or does I/O; import-linter holds it to
that.  Follow a byte through `parser`, `delivery` and `session`, in that order.
"""
