"""The suite cannot leave this machine."""

from __future__ import annotations

import os
import socket
import urllib.request

import pytest


def test_names_are_not_looked_up():
    with pytest.raises(OSError, match="offline"):
        socket.create_connection(("example.com", 443), timeout=1)


def test_addresses_are_not_reached():
    with socket.socket() as connection, pytest.raises(OSError, match="offline"):
        connection.connect(("192.0.2.1", 80))
    with pytest.raises(OSError, match="offline"):
        urllib.request.urlopen("http://192.0.2.1/", timeout=1)


def test_this_machine_can_talk_to_itself():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_the_hub_is_told():
    assert os.environ["HF_HUB_OFFLINE"] == "1"
