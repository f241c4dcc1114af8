"""The command `serve`; nothing is imported before it is asked for."""
