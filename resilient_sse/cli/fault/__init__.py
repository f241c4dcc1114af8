"""The command `fault`; nothing is imported before it is asked for."""
