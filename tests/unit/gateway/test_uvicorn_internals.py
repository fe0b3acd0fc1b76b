"""What is used of uvicorn beyond its public interface: a new version that changes it fails here first."""

from __future__ import annotations

import inspect

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


def test_the_server_leaves_signals_to_one_method() -> None:
    assert "capture_signals" in inspect.getsource(uvicorn.Server.serve)
    assert list(inspect.signature(uvicorn.Server.capture_signals).parameters) == ["self"]


def test_the_server_ends_by_its_flag() -> None:
    assert "should_exit" in inspect.getsource(uvicorn.Server)
    assert "sockets" in inspect.signature(uvicorn.Server.serve).parameters


def test_the_protocol_has_what_is_overridden() -> None:
    methods = ("connection_made", "data_received", "pause_writing", "resume_writing", "connection_lost")
    assert [name for name in methods if name not in vars(H11Protocol)] == []
    made = inspect.getsource(H11Protocol.__init__)
    assert [part for part in ("self.conn = h11.Connection", "self.loop = ", "self.transport") if part not in made] == []


def test_a_configuration_takes_a_protocol_and_loads_tls_before_it_serves() -> None:
    names = inspect.signature(uvicorn.Config).parameters
    assert {"http", "h11_max_incomplete_event_size", "timeout_graceful_shutdown", "ssl_certfile"} <= set(names)
    assert "self.ssl" in inspect.getsource(uvicorn.Config.load)
