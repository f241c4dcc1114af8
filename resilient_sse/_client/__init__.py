"""The only input and output of the client: requests, timers, callbacks, and the iterator users hold."""
