"""The command `rules`; nothing is imported before it is asked for."""
