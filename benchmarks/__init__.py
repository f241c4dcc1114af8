"""What an event costs a client of Server-Sent Events: resilient_sse beside its peers.  See `__main__`."""
