"""The subscriber itself: what it answers, where it listens, how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Final, Self, TypeVar, cast, overload

import attrs

from failover.errors import ConfigError, UsageError
from failover.sink import check_name, check_seconds
from failover.subscriber.connection import Connection
from failover.subscriber.dispatch import Dispatch
from failover.subscriber.listening import stop_listening
from failover.subscriber.repeats import Repeats
from failover.subscriber.service import Counters, Service, Settings, SubscriberStatus

__all__ = ["Subscriber"]

_logger = logging.getLogger("failover.subscriber")
_F = TypeVar("_F", bound=Callable[..., object])
_LAST_GRACE: Final = 1.0  # seconds that cancelled functions have to end
_HANDSHAKE: Final = 10.0  # seconds for a TLS handshake
_BACKLOG: Final = 1024
_LAST_PORT: Final = 65_535


class Subscriber:
    """Receives events as JSON-RPC 2.0 over TCP and confirms each when the application's function for it has returned.

    Functions are plain or coroutine functions. What one returns is the reply's result (None is told as `"ok"`, anything
    else must be something that JSON can tell); what it raises becomes an error reply: an `RpcError` its own code, any
    other exception -32603 with no details, which are logged as `failover.subscriber`. No error ends the connection.
    Notifications (no id, or OpenSIPS's `"id":null`) get no reply; batches are answered as one.

    Args:
        host: Where to listen; a name or an address.
        port: Where to listen; 0 lets the system choose, see `address`.
        in_order: Whether one connection's requests are served one after the other, as they came; False runs
            coroutines concurrently and answers as they finish. Connections never wait for each other.
        timeout: Seconds that a coroutine may take until it's cancelled and the request refused with -32001;
            None for as long as it wants. Plain functions can't be cut short.
        max_frame: Bytes that one request or batch may have.
        max_depth: Levels of brackets that one request or batch may have.
        max_connections: Connections at a time; one more is closed at once.
        max_in_flight: Requests of one connection that are read and not answered, at which reading pauses until half are
            answered (what one read brought is kept); also the most requests that a batch may have.
        max_unread: Bytes of replies that the peer has left unread, at which nothing more is read or begun.
        drain: Seconds that `aclose` waits for what is in flight.
        id_param: The param that holds an event's id, as a sender's `jsonrpc(…, id_param=…)` puts it there: an event
            that comes again, over whatever connection, is answered as the first time and not handled again. Functions
            don't see it among the params; the whole `Request` has it as `event_id`. None takes every request for a new
            event.
        window: Seconds for which a confirmed event is remembered, with its result; it is forgotten when the subscriber
            closes.
        max_remembered: How many confirmed events are remembered; the oldest are forgotten first. (So they are when ids
            and results together are larger than 64 MiB.)
        replace_bad_utf8: Whether params with bytes that aren't UTF-8, which OpenSIPS passes on as SIP brought them, are
            read with U+FFFD in their place; False refuses them with -32602.
        ssl_context: Serve TLS, as this says.

    Raises:
        ConfigError: no such port, a bound below 1, a time that isn't positive, or something that is no TLS context.

    Source: JSON-RPC 2.0; OpenSIPS event_jsonrpc and event_stream.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        in_order: bool = True,
        timeout: float | None = None,
        max_frame: int = 4 * 2**20,
        max_depth: int = 64,
        max_connections: int = 1024,
        max_in_flight: int = 1024,
        max_unread: int = 256 * 1024,
        drain: float = 5.0,
        id_param: str | None = None,
        window: float = 600.0,
        max_remembered: int = 100_000,
        replace_bad_utf8: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if type(port) is not int or not 0 <= port <= _LAST_PORT:
            raise ConfigError(f"port must be a number from 0 (the system chooses) to {_LAST_PORT}, not {port!r}")
        if not isinstance(ssl_context, ssl.SSLContext | None):
            raise ConfigError(f"ssl_context must be an ssl.SSLContext or None, not {ssl_context!r}")
        self._host = check_name("host", host)
        self._port = port
        self._drain = check_seconds("drain", drain, zero=True)
        self._ssl_context = ssl_context
        self._settings = Settings(
            in_order=in_order,
            timeout=timeout,
            max_frame=max_frame,
            max_depth=max_depth,
            max_connections=max_connections,
            max_in_flight=max_in_flight,
            max_unread=max_unread,
            id_param=id_param,
            window=window,
            max_remembered=max_remembered,
            replace_bad_utf8=replace_bad_utf8,
        )
        self._dispatch = Dispatch()
        self._counters = Counters()
        self._server: asyncio.Server | None = None
        self._service: Service | None = None
        self._address: tuple[str, int] | None = None

    # What it answers.

    def method(self, name: str, *, whole: bool = False) -> Callable[[_F], _F]:
        """Decorate the function for one method, called with the params (a dict, a list, or None when there are none).

        Args:
            name: The method, which is the event's name unless the sender's socket names another.
            whole: Call it with the whole `Request` instead of the params.

        Raises:
            ConfigError: the method has a function already, or this is no name or no function.
        """
        if callable(name):
            raise ConfigError('the decorator needs the name of a method: @subscriber.method("E_ACC_CDR")')
        check_name("method", name)

        def decorate(function: _F) -> _F:
            _check_function(function)
            self._dispatch.add(name, function if whole else lambda request: function(request.params))
            return function

        return decorate

    @overload
    def default(self, function: _F) -> _F: ...

    @overload
    def default(self, function: None = None, *, whole: bool = False) -> Callable[[_F], _F]: ...

    def default(self, function: _F | None = None, *, whole: bool = False) -> _F | Callable[[_F], _F]:
        """Decorate the function for all other methods, called with the method and the params.

        Without one, other methods are refused with -32601.

        Args:
            function: The function, when used as `@subscriber.default`.
            whole: Call it with the whole `Request` instead, when used as `@subscriber.default(whole=True)`.

        Raises:
            ConfigError: there is a default already, or this is no function.
        """

        def decorate(function: _F) -> _F:
            _check_function(function)
            self._dispatch.otherwise(function if whole else lambda request: function(request.method, request.params))
            return function

        return decorate if function is None else decorate(function)

    # Where it listens, how it begins and ends.

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on, the port chosen by the system included; kept after closing.

        Raises:
            UsageError: it was never started.
        """
        if self._address is None:
            raise UsageError("this subscriber has no address yet; start it first")
        return self._address

    @property
    def socket(self) -> str:
        """The same as the text of a socket, scheme and all, as a group takes it.

        Raises:
            UsageError: it was never started.
        """
        host, port = self.address
        return f"jsonrpc:[{host}]:{port}" if ":" in host else f"jsonrpc:{host}:{port}"

    async def start(self) -> None:
        """Listen. A subscriber that was closed can be started again, on the same port if one was named.

        Raises:
            UsageError: it's started already.
            OSError: the address can't be had; the error names it.
        """
        if self._service is not None:
            raise UsageError("this subscriber is started already; close it before it's started again")
        loop = asyncio.get_running_loop()
        service = self._service = Service(self._settings, self._dispatch, self._counters, self._repeats(loop))
        try:
            server = await loop.create_server(
                functools.partial(Connection, service, loop),
                self._host,
                self._port,
                ssl=self._ssl_context,
                ssl_handshake_timeout=None if self._ssl_context is None else _HANDSHAKE,
                backlog=_BACKLOG,
            )
        except socket.gaierror as error:  # which doesn't say whose name it was
            self._service = None
            raise OSError(error.errno, f"can't listen on {self._host!r}: {error.strerror}") from error
        except BaseException:
            self._service = None
            raise
        self._server = server
        self._address = cast("tuple[str, int]", server.sockets[0].getsockname()[:2])

    async def aclose(self, *, within: float | None = None) -> None:
        """Stop listening, finish what is in flight, turn down what still comes (error -32000), and close.

        What isn't finished in time is cancelled and its connection reset. May be called at any time and again, but not
        awaited by one of the subscriber's own functions, which it would wait for.

        Args:
            within: Seconds to wait for what is in flight, instead of the subscriber's own; 0 closes at once.
        """
        service, server = self._service, self._server
        if service is None or server is None:
            return
        service.draining = True
        for connection in list(service.connections):
            connection.drain()
        service.note()
        try:
            await stop_listening(server)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain if within is None else within):
                    await service.idle.wait()
        finally:
            for connection in list(service.connections):
                connection.abort()
            for task in service.tasks:
                task.cancel()
            if self._service is service:
                self._service = self._server = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_GRACE):
                await service.idle.wait()
        if service.tasks:
            _logger.warning("%d functions went on after they were cancelled", len(service.tasks))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @contextlib.contextmanager
    def blocking(self) -> Generator[Self]:
        """Listen in a daemon thread of its own, in which the functions run too, until the block is left.

        Raises:
            UsageError: it's started already.
            OSError: the address can't be had; the error names it.
        """
        started = threading.Event()
        failure: list[BaseException] = []
        ending: list[Callable[[], object]] = []

        async def serve() -> None:
            end = asyncio.Event()
            try:
                await self.start()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
                failure.append(error)
                return
            finally:
                ending.append(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, end.set))
                started.set()
            await end.wait()
            await self.aclose()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="failover-subscriber", daemon=True)
        thread.start()
        started.wait()
        if failure:
            thread.join()
            raise failure[0]
        try:
            yield self
        finally:
            with contextlib.suppress(RuntimeError):  # its loop has ended already, by an error that ends programs
                ending[0]()
            thread.join()

    def _repeats(self, loop: asyncio.AbstractEventLoop) -> Repeats | None:
        settings = self._settings
        if settings.id_param is None:
            return None
        return Repeats(
            self._dispatch, loop, window=settings.window, most=settings.max_remembered, counters=self._counters
        )

    def status(self) -> SubscriberStatus:
        """Count what was done and is being done; may be called from any thread."""
        connections = [] if self._service is None else list(self._service.connections)
        return SubscriberStatus(
            connections=len(connections),
            in_flight=sum(connection.in_flight for connection in connections),
            **attrs.asdict(self._counters),
        )


def _check_function(function: object) -> None:
    if not callable(function):
        raise ConfigError(f"a function that is called with each event was expected, not {function!r}")
