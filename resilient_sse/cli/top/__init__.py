"""The command `top`; nothing is imported before it is asked for."""
