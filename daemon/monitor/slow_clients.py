"""End connections that send a request so slowly that they only keep a place from others."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 10.0  # from the first byte, or from the connection, to the end of the headers


class ImpatientProtocol(H11Protocol):
    """As uvicorn's, but a connection has only so long to say what it wants.

    uvicorn ends what is idle between two requests; a first request that never ends it would keep for ever.
    """

    headers_s = HEADERS_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Start the clock with the first bytes of a request, and stop it with its headers."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.headers_s, self._end_if_it_waits)

    def _stop_clock(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _end_if_it_waits(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
