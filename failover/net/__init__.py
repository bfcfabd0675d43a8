"""Connections: who owns them, how they are made, and what goes over them. Foreign errors are translated here."""

__all__: list[str] = []
