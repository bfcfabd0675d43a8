"""Sinks: what delivers to one socket."""

__all__: list[str] = []
