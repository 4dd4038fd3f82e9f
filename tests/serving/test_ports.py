import os
import socket

import pytest

from configs.errors import ServerError
from serving.ports import check_port, free_port


class TestCheckPort:
    def test_a_free_port_passes(self) -> None:
        """And stays free."""
        port = free_port()
        check_port("127.0.0.1", port)
        check_port("127.0.0.1", port)

    def test_a_taken_port_names_its_process(self) -> None:
        """So that it can be stopped."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ServerError) as raised:
                check_port("127.0.0.1", port)
        assert f"port {port} is taken by process {os.getpid()} (" in raised.value.what
        assert f"use --port {port + 1}" in raised.value.what
