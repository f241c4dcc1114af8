"""The command `load`; nothing is imported before it is asked for."""
