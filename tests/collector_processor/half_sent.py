"""Raw HTTP/2: calls whose message never becomes whole, as no gRPC library would send them."""

from __future__ import annotations

import socket
import struct
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class RawCalls:
    """One connection; `calls` of it are begun, each announcing a message of `announced` bytes."""

    def __init__(self, address: str, *, method: str = EXPORT, announced: int = 60 << 20) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._socket.setblocking(False)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._method, self._announced = method, announced
        self.status: dict[int, str] = {}  # stream → grpc-status
        self.gone = False  # the server closed the connection
        self._flush()

    def begin(self) -> int:
        """Headers, and the beginning of the message with its length."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            stream,
            [
                (":method", "POST"), (":scheme", "http"), (":path", self._method), (":authority", "x"),
                ("content-type", "application/grpc"), ("te", "trailers"),
            ],
        )  # fmt: skip
        self._h2.send_data(stream, b"\0" + struct.pack(">I", self._announced))
        self._flush()
        return stream

    def push(self, stream: int, size: int, *, within_s: float = 5.0) -> int:
        """Send up to `size` bytes as the server lets us; how many went."""
        sent, give_up = 0, time.monotonic() + within_s
        while sent < size and time.monotonic() < give_up and not self.gone and stream not in self.status:
            self.listen(0.0)
            try:
                room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, size - sent)
                if room > 0:
                    self._h2.send_data(stream, bytes(room))
                    sent += room
                    self._flush()
                else:
                    self.listen(0.05)
            except h2.exceptions.ProtocolError:
                break
        return sent

    def listen(self, for_s: float) -> None:
        """Take what the server says for so long."""
        end = time.monotonic() + for_s
        while not self.gone:
            self._socket.settimeout(max(0.0, end - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except (BlockingIOError, TimeoutError):
                break
            except ConnectionError:
                data = b""
            if not data:
                self.gone = True
                break
            for event in self._h2.receive_data(data):
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    headers = dict(event.headers)
                    if "grpc-status" in headers:
                        self.status[event.stream_id] = headers["grpc-status"]
                elif isinstance(event, h2.events.StreamReset):
                    self.status.setdefault(event.stream_id, f"reset {int(event.error_code)}")
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.gone = True
            self._flush()

    def ended(self, stream: int, *, within_s: float) -> str:
        """Its grpc-status as soon as the server says one; empty where it says none in time."""
        give_up = time.monotonic() + within_s
        while stream not in self.status and not self.gone and time.monotonic() < give_up:
            self.listen(0.1)
        return self.status.get(stream, "gone" if self.gone else "")

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        self._socket.settimeout(5)
        try:
            self._socket.sendall(data)
        except (TimeoutError, ConnectionError):
            self.gone = True
