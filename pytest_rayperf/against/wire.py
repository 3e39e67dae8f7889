"""What the two sides tell each other: JSON, over a pair of sockets that dies with either of them.

Not pickles: the far side may have another Python, another Ray and an older pytest-rayperf.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from pytest_rayperf.baselines.format import round_from_json, round_to_json
from pytest_rayperf.errors import RayperfError
from pytest_rayperf.measurement import Execution, Spoiled

PROTOCOL = 1
"""Raised with whatever an older side would not understand."""

Message = Mapping[str, Any]


class SideLost(RayperfError):
    """The other side ended, or said something that is no message."""


class Channel:
    """One end.

    Args:
        connection: to the other end.
        is_alive: asked now and then while nothing comes.
    """

    def __init__(self, connection: Connection, is_alive: Callable[[], bool] = lambda: True) -> None:
        self._connection = connection
        self._is_alive = is_alive

    def send(self, kind: str, **body: Any) -> None:
        """Send a message.

        Raises:
            SideLost: nobody is there.
        """
        try:
            self._connection.send_bytes(json.dumps({"kind": kind, **body}, default=_plain).encode())
        except OSError as error:
            raise SideLost("the other side has ended") from error

    def receive(self) -> Message:
        """The next message, whenever it comes; it has a `kind`.

        Raises:
            SideLost: the other side has ended.
        """
        try:
            while not self._connection.poll(0.5):
                if not self._is_alive():
                    raise SideLost("the other side has ended")
            message = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError, ValueError) as error:
            raise SideLost("the other side has ended") from error
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
            raise SideLost(f"the other side said {message!r:.80}, which is no message")
        return message

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


def _plain(value: Any) -> Any:
    """A number of NumPy's, as a test may have put it among the figures."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no number that JSON has")


def execution_to_json(execution: Execution) -> dict[str, Any]:
    """A round that was executed, without its outputs."""
    spoiled = execution.spoiled
    return {
        "round": round_to_json(execution.round),
        "spoiled": None if spoiled is None else {"reason": spoiled.reason, "lost": spoiled.lost},
    }


def execution_from_json(message: Message, side: str) -> Execution:
    """What `execution_to_json` made.

    Raises:
        ConfigurationError: a part is missing or of a wrong type; `side` says whose it is.
    """
    spoiled = message.get("spoiled")
    return Execution(
        round_from_json(message.get("round"), side),
        spoiled=None if spoiled is None else Spoiled(str(spoiled["reason"]), bool(spoiled["lost"])),
    )
