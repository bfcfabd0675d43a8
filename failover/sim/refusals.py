"""What asyncio's loops can do and a simulated one can't: each is an error that says why and what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from failover.sim.errors import SimulationError

__all__ = ["Refusals"]

SOCKET = "a real socket belongs to the real network: open the connection by host and port, and the simulation makes it"
FILE = "a file descriptor is watched by the real kernel: let the program take its input from a simulated connection"
THREAD = (
    "a thread ends at its own time, which is not the same in two runs: call the function directly, or await a coroutine"
)
PROCESS = "another process runs outside of the simulation: make it a host, network.host(name).boot(...)"
SIGNAL = "a signal comes from the real world: call what it would call, at a time, with loop.call_later"
UNIX = "a Unix socket belongs to the real file system: use a port of the host, which costs nothing here"
SENDFILE = "sendfile reads a real file descriptor: read the file and write the bytes"


def _refused(name: str, why: str) -> Any:
    def refuse(*_: object, **__: object) -> Any:
        raise SimulationError(f"loop.{name}() inside a simulation: {why}")

    refuse.__name__ = name
    refuse.__doc__ = f"Raises SimulationError: {why}."
    return refuse


class Refusals:
    """The refused part of `asyncio.AbstractEventLoop`."""

    add_reader: Callable[..., Any] = _refused("add_reader", FILE)
    remove_reader: Callable[..., Any] = _refused("remove_reader", FILE)
    add_writer: Callable[..., Any] = _refused("add_writer", FILE)
    remove_writer: Callable[..., Any] = _refused("remove_writer", FILE)
    sock_recv: Callable[..., Any] = _refused("sock_recv", SOCKET)
    sock_recv_into: Callable[..., Any] = _refused("sock_recv_into", SOCKET)
    sock_recvfrom: Callable[..., Any] = _refused("sock_recvfrom", SOCKET)
    sock_recvfrom_into: Callable[..., Any] = _refused("sock_recvfrom_into", SOCKET)
    sock_sendall: Callable[..., Any] = _refused("sock_sendall", SOCKET)
    sock_sendto: Callable[..., Any] = _refused("sock_sendto", SOCKET)
    sock_connect: Callable[..., Any] = _refused("sock_connect", SOCKET)
    sock_accept: Callable[..., Any] = _refused("sock_accept", SOCKET)
    sock_sendfile: Callable[..., Any] = _refused("sock_sendfile", SENDFILE)
    sendfile: Callable[..., Any] = _refused("sendfile", SENDFILE)
    connect_accepted_socket: Callable[..., Any] = _refused("connect_accepted_socket", SOCKET)
    create_unix_connection: Callable[..., Any] = _refused("create_unix_connection", UNIX)
    create_unix_server: Callable[..., Any] = _refused("create_unix_server", UNIX)
    connect_read_pipe: Callable[..., Any] = _refused("connect_read_pipe", FILE)
    connect_write_pipe: Callable[..., Any] = _refused("connect_write_pipe", FILE)
    subprocess_exec: Callable[..., Any] = _refused("subprocess_exec", PROCESS)
    subprocess_shell: Callable[..., Any] = _refused("subprocess_shell", PROCESS)
    add_signal_handler: Callable[..., Any] = _refused("add_signal_handler", SIGNAL)
    remove_signal_handler: Callable[..., Any] = _refused("remove_signal_handler", SIGNAL)
    run_in_executor: Callable[..., Any] = _refused("run_in_executor", THREAD)
    set_default_executor: Callable[..., Any] = _refused("set_default_executor", THREAD)
