"""The command `report`; nothing is imported before it is asked for."""
