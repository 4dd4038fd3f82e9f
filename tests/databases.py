"""Databases that only tests use."""

import sqlite3
from typing import Any


def hurry(connection: Any, _: Any) -> None:
    """Let SQLite not wait for the disk: the database of a test need not survive a power cut."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")
