"""One peer's connection: reads, runs, answers, and holds the peer back when it's ahead."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable
from typing import Final, cast

import attrs
import msgspec

from failover.protocol.framing import Framer, Malformed
from failover.subscriber.dispatch import Request, RpcError
from failover.subscriber.repeats import take_id
from failover.subscriber.service import Service
from failover.subscriber.wire import (
    CALLS,
    CLOSING,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    NO_ID,
    PARSE_ERROR,
    TIMED_OUT,
    Call,
    confirmation,
    decode_params,
    fault,
    peer_name,
    refusal,
    request_id,
)

__all__ = ["Connection"]

_logger = logging.getLogger("failover.subscriber")
_JOINED: Final = 64 * 1024  # bytes of replies that are gathered before they are written within a loop turn
_LINGER: Final = 1.0  # seconds that a peer has to read why it was cut off


@attrs.define
class _Batch:
    """The replies to a batch, which go out together. Source: JSON-RPC 2.0 section 6."""

    missing: int
    replies: list[bytes] = attrs.field(factory=list[bytes])


@attrs.define
class _Member:
    """One element of a batch."""

    raw: msgspec.Raw
    batch: _Batch


@attrs.define
class _Running:
    """A request whose function has not returned yet."""

    request: Request
    batch: _Batch | None
    timer: asyncio.TimerHandle | None = None
    expired: bool = False


class Connection(asyncio.Protocol):
    """One peer's connection, made by the server.

    What has been read is served even when the peer has closed its sending side; when the connection is lost, functions
    that run finish, and requests that were not begun are dropped: nobody could learn that they were processed.
    """

    _transport: asyncio.Transport

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        settings = service.settings
        self._service = service
        self._settings = settings
        self._counters = service.counters
        self._loop = loop
        self._framer = Framer(CALLS, max_frame=settings.max_frame, max_depth=settings.max_depth)
        self._width = 1 if settings.in_order else settings.max_in_flight  # functions that run at a time
        self._waiting: deque[Call | list[msgspec.Raw] | Malformed | _Member] = deque()
        self._running: dict[asyncio.Future[object], _Running] = {}
        self._out: list[bytes] = []
        self._out_size = 0
        self._flushing = False
        self._pumping = False
        self._reading = True
        self._writable = True
        self._ending = False  # no more will come: close when all is answered
        self._lost = False
        self._linger: asyncio.TimerHandle | None = None
        self._peer = ""

    @property
    def in_flight(self) -> int:
        """How many requests were received and not answered yet."""
        return len(self._waiting) + len(self._running)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or turn the peer away if there are too many or we are closing."""
        self._transport = cast("asyncio.Transport", transport)
        if self._service.draining or len(self._service.connections) >= self._settings.max_connections:
            self._counters.turned_away += 1
            self._lost = True
            self._transport.abort()
            return
        self._counters.accepted += 1
        self._service.connections.add(self)
        self._peer = peer_name(self._transport.get_extra_info("peername"))
        self._half_open = self._transport.get_extra_info("sslcontext") is None  # at the end TLS can't say any more
        self._transport.set_write_buffer_limits(high=self._settings.max_unread)
        connected = self._transport.get_extra_info("socket")
        if connected is not None:  # a peer that vanished must not hold its place for ever
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what was not begun; what runs finishes."""
        self._lost = True
        self._counters.dropped += len(self._waiting)
        self._waiting.clear()
        self._out.clear()
        if self._linger is not None:
            self._linger.cancel()
        self._service.connections.discard(self)
        self._service.note()

    def data_received(self, data: bytes) -> None:
        """Take requests in any segmentation; serve what can be served now."""
        if self._ending or self._lost:
            return
        values = self._framer.feed(data)
        if self._service.draining:
            for value in values:
                self._turn_down(value)
        else:
            self._waiting.extend(values)
        if self._framer.broken is not None:
            self._ending = True
        self._pump()
        self._flush()

    def eof_received(self) -> bool:
        """Keep the sending side open for the replies that are still owed (TLS has no such state)."""
        if self._linger is not None:
            return False
        self._ending = True
        self._regulate()
        return self._half_open

    def pause_writing(self) -> None:
        """The peer doesn't read its replies: begin nothing, read nothing."""
        self._writable = False
        self._regulate()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._writable = True
        self._pump()
        self._flush()

    # What the server asks.

    def drain(self) -> None:
        """Answer what was received, turn down what still comes, and close."""
        if self._linger is not None:
            self.abort()
        self._regulate()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    # From the requests to the replies.

    def _pump(self) -> None:
        """Serve what waits, as far as bounds and order allow."""
        if self._pumping:  # a function that was called from here led back to here
            return
        self._pumping = True
        try:
            while self._waiting and self._writable and not self._lost and len(self._running) < self._width:
                self._serve(self._waiting.popleft())
        finally:
            self._pumping = False
        self._regulate()

    def _serve(self, value: Call | list[msgspec.Raw] | Malformed | _Member) -> None:
        """Serve one value of the stream, or one element of a batch."""
        if isinstance(value, Call):
            self._begin(value, None)
        elif isinstance(value, _Member):
            try:
                call = msgspec.json.decode(value.raw, type=Call)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                self._invalid(NO_ID, value.batch, str(error))
            else:
                self._begin(call, value.batch)
        elif isinstance(value, Malformed):
            self._counters.malformed += 1
            broken = value.frame[:1] in (b"{", b"[")  # any object or array is decoded if only it's JSON
            code, text = (PARSE_ERROR, "Parse error") if broken else (INVALID_REQUEST, "Invalid Request")
            self._answer(None, refusal(NO_ID, code, text, value.problem))
        elif 0 < len(value) <= self._settings.max_in_flight:
            batch = _Batch(len(value))
            self._waiting.extendleft(_Member(raw, batch) for raw in reversed(value))
        else:
            bound = self._settings.max_in_flight
            self._invalid(NO_ID, None, f"a batch of {len(value)} requests; expected 1 to {bound}")

    def _begin(self, call: Call, batch: _Batch | None) -> None:
        """Serve one request: at once if its function returns a value, else when what it returned is done."""
        try:
            raw_id = request_id(call)
        except ValueError as error:
            self._invalid(NO_ID, batch, str(error))
            return
        problem = fault(call)
        if problem is not None:
            self._invalid(raw_id or NO_ID, batch, problem)
            return
        if raw_id is None:
            self._counters.notifications += 1
        else:
            self._counters.requests += 1
        try:
            params = decode_params(call, replace=self._settings.replace_bad_utf8)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            self._refuse(raw_id, batch, RpcError(INVALID_PARAMS, "Invalid params", str(error)))
            return
        event_id = None
        if self._settings.id_param is not None:
            params, event_id = take_id(params, self._settings.id_param)
        request = Request(call.method, params, raw_id, self._peer, event_id)
        try:
            result = self._service.dispatch(request)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the application's own errors end here
            self._failed(request, batch, error)
            return
        if hasattr(result, "__await__"):
            self._run(
                _Running(request, batch), asyncio.ensure_future(cast("Awaitable[object]", result), loop=self._loop)
            )
        else:
            self._confirm(request, batch, result)

    def _run(self, running: _Running, task: asyncio.Future[object]) -> None:
        """Wait for the function without holding up anything else."""
        self._running[task] = running
        self._service.tasks.add(task)
        if self._settings.timeout is not None:
            running.timer = self._loop.call_later(self._settings.timeout, self._expire, running, task)
        task.add_done_callback(self._done)

    def _expire(self, running: _Running, task: asyncio.Future[object]) -> None:
        running.expired = True
        task.cancel()

    def _done(self, task: asyncio.Future[object]) -> None:
        """Answer for a function that has ended, however it did."""
        running = self._running.pop(task)
        self._service.tasks.discard(task)
        if running.timer is not None:
            running.timer.cancel()
        if task.cancelled():
            error: BaseException | None = asyncio.CancelledError()
            if running.expired:
                error = RpcError(TIMED_OUT, "Timed out", f"the function took more than {self._settings.timeout} s")
            elif self._service.draining:
                error = RpcError(CLOSING, "Closing")
        else:
            error = task.exception()
        if error is not None:
            self._failed(running.request, running.batch, error)
        else:
            self._confirm(running.request, running.batch, task.result())
        self._pump()
        if self._out and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        self._service.note()

    # Replies.

    def _confirm(self, request: Request, batch: _Batch | None, result: object) -> None:
        """Say that the function has returned."""
        if self._service.repeats is not None:
            self._service.repeats.confirmed(request, result)
        if request.raw_id is None:
            self._answer(batch, None)
            return
        try:
            reply = confirmation(request.raw_id, result)
        except Exception as error:  # noqa: BLE001 - whatever the result is made of
            self._failed(request, batch, error)
        else:
            self._counters.confirmed += 1
            self._answer(batch, reply)

    def _failed(self, request: Request, batch: _Batch | None, error: BaseException) -> None:
        """Refuse as the function asked, or log what it raised and tell the peer no details."""
        if not isinstance(error, RpcError):
            self._counters.failed += 1
            _logger.error("%s from %s: its function failed", request.method, request.peer, exc_info=error)
            error = RpcError(INTERNAL_ERROR, "Internal error")
        if self._service.repeats is not None:
            self._service.repeats.refused(request, error)
        self._refuse(request.raw_id, batch, error)

    def _refuse(self, raw_id: bytes | None, batch: _Batch | None, error: RpcError) -> None:
        """Answer a request with an error; a notification gets no reply at all."""
        if raw_id is None:
            self._answer(batch, None)
            return
        self._counters.errors += 1
        try:
            reply = refusal(raw_id, error.code, error.text, error.data)
        except Exception:
            _logger.exception("an RpcError can't be told in JSON: %r", error)
            reply = refusal(raw_id, INTERNAL_ERROR, "Internal error")
        self._answer(batch, reply)

    def _invalid(self, raw_id: bytes, batch: _Batch | None, problem: str) -> None:
        """Answer what is no request."""
        self._counters.malformed += 1
        self._answer(batch, refusal(raw_id, INVALID_REQUEST, "Invalid Request", problem))

    def _turn_down(self, value: Call | list[msgspec.Raw] | Malformed) -> None:
        """Refuse what comes while closing, so that its sender can move on at once and knows that nothing was done."""
        self._counters.dropped += 1
        try:
            raw_id = request_id(value) if isinstance(value, Call) else NO_ID
        except ValueError:
            raw_id = NO_ID
        if raw_id is not None:
            self._answer(None, refusal(raw_id, CLOSING, "Closing"))

    def _answer(self, batch: _Batch | None, reply: bytes | None) -> None:
        """Put a reply among those of this loop turn, or among those of its batch."""
        if batch is not None:
            if reply is not None:
                batch.replies.append(reply)
            batch.missing -= 1
            if batch.missing or not batch.replies:
                return
            reply = b"[" + b",".join(batch.replies) + b"]"
        if reply is None or self._lost:
            return
        self._out.append(reply)
        self._out_size += len(reply)
        if self._out_size >= _JOINED:
            self._flush()

    def _flush(self) -> None:
        """Write the replies of this loop turn at once."""
        self._flushing = False
        if self._out and not self._lost:
            joined = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self._transport.write(joined)
        self._close_if_done()

    def _regulate(self) -> None:
        """Read while there is room for more, and stop at the bound; begin again at half of it."""
        if self._lost or self._ending or self._transport.is_closing():
            self._close_if_done()
            return
        bound = self._settings.max_in_flight
        if not self._reading:
            if self._writable and self.in_flight <= bound // 2:
                self._reading = True
                self._transport.resume_reading()
        elif not self._writable or self.in_flight >= bound:
            self._reading = False
            self._transport.pause_reading()
        self._close_if_done()

    def _close_if_done(self) -> None:
        """Close when no more is to come and all is answered and written."""
        if self._lost or self._linger is not None or self._out or self.in_flight:
            return
        if not (self._ending or self._service.draining):
            return
        broken = self._framer.broken
        if broken is None or self._transport.is_closing():
            self._transport.close()  # which writes what is left first
            return
        self._counters.malformed += 1
        self._transport.write(refusal(NO_ID, PARSE_ERROR, "Parse error", str(broken)))
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        # Closing at once, with bytes unread, would reset the connection and take the reply with it.
        self._transport.write_eof()
        self._linger = self._loop.call_later(_LINGER, self._transport.abort)
