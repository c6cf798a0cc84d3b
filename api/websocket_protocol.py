"""uvicorn's WebSockets, but for clients that ask for answers and read none."""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Pongs wait until the client reads again, the last ones only: uvicorn would keep them all, without end."""

    _pongs = b""

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # What has come at once is answered at once; of later pings in the same bytes nothing is left to say.
            self._pongs = b"".join(self.conn.data_to_send()) or self._pongs

    def resume_writing(self) -> None:
        super().resume_writing()
        pongs, self._pongs = self._pongs, b""
        if pongs and not self.transport.is_closing():
            self.transport.write(pongs)
