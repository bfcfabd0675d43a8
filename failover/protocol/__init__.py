"""The wire, sans-I/O: bytes in, facts out. Nothing here knows a socket, a clock or a loop."""

__all__: list[str] = []
