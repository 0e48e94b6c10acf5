"""Verifies that a restored PostgreSQL database is the one that was backed up: every row, key and sequence.

A mismatch is a report with the verdict "fail". `Error` means that the answer could not be found out.
"""

import json
from typing import Any, Callable, Dict, List, Literal, NamedTuple, Optional, TypedDict, Union

from . import _native
from ._native import Cancellation

__all__ = [
    "Cancellation",
    "Captured",
    "Error",
    "Event",
    "Invariant",
    "Limits",
    "Options",
    "Report",
    "Verdict",
    "capture",
    "compare",
    "verify",
]

Verdict = Literal["pass", "fail", "inconclusive"]

Report = Dict[str, Any]
"""A report: docs/report.schema.json describes it."""

Event = Dict[str, Dict[str, Any]]
"""An event: one key, its name, with its fields. docs/embedding.md lists them."""

OnEvent = Callable[[Event], object]


class Invariant(TypedDict):
    """A rule of the application."""

    name: str
    sql: str
    expect: Union[Literal["no-rows", "same"], Dict[Literal["value"], str]]


class Limits(TypedDict, total=False):
    """Limits on what the server is asked to bear, in milliseconds."""

    lock_timeout_ms: int
    invariant_timeout_ms: int
    anchor_timeout_ms: int
    stall_timeout_ms: int


class Options(TypedDict, total=False):
    """Options of a call; docs/embedding.md has their meaning and defaults."""

    jobs: int
    mode: str
    hash: Literal["blake3", "sha256"]
    invariants: List[Invariant]
    limits: Limits
    skip: List[str]
    own_restore: bool


class Error(Exception):
    """The answer could not be found out. No text of it holds a secret."""

    def __init__(
        self, kind: str, causes: List[str], hint: Optional[str] = None, sqlstate: Optional[str] = None
    ) -> None:
        # All of them are arguments of Exception, so that an error can be pickled.
        super().__init__(kind, causes, hint, sqlstate)
        self.kind = kind
        self.causes = causes
        self.hint = hint
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        text = ": ".join(self.causes)
        return text if self.hint is None else f"{text}\nhint: {self.hint}"


class Captured(NamedTuple):
    """A captured database."""

    manifest: bytes
    """The manifest's file. Store it beside the backup."""

    verdict: Verdict
    """Whether the manifest covers everything: not "pass" if a table could not be read."""


def capture(
    conninfo: str,
    options: Optional[Options] = None,
    *,
    on_event: Optional[OnEvent] = None,
    cancellation: Optional[Cancellation] = None,
) -> Captured:
    """Measures a database under one snapshot.

    `conninfo` is a whole connection string: no environment variable and no file of the home directory is read.
    `on_event` runs on this thread. To stop the work, it returns a true value, which raises `Error` with the kind
    "interrupted", or raises an exception, which is raised again here. Between the events "snapshot" and "measured" it may take a
    backup of the same point in time.
    """
    status, document = _native.capture(conninfo, _options(options), _lines(on_event), cancellation)
    return Captured(_checked(status, document), _VERDICTS[status])


def verify(
    manifest: bytes,
    conninfo: str,
    options: Optional[Options] = None,
    *,
    on_event: Optional[OnEvent] = None,
    cancellation: Optional[Cancellation] = None,
) -> Report:
    """Compares a restored database with the manifest of its source. The other arguments are those of `capture`."""
    answer = _native.verify(manifest, conninfo, _options(options), _lines(on_event), cancellation)
    return _report(*answer)


def compare(
    source: str,
    restored: str,
    options: Optional[Options] = None,
    *,
    on_event: Optional[OnEvent] = None,
    cancellation: Optional[Cancellation] = None,
) -> Report:
    """Compares two running databases, to which nothing may be written meanwhile."""
    answer = _native.compare(source, restored, _options(options), _lines(on_event), cancellation)
    return _report(*answer)


_VERDICTS: Dict[int, Verdict] = {0: "pass", 1: "fail", 3: "inconclusive"}
_ERROR = 2


def _options(options: Optional[Options]) -> str:
    return "" if options is None else json.dumps(options)


def _lines(on_event: Optional[OnEvent]) -> Optional[Callable[[str], object]]:
    if on_event is None:
        return None
    return lambda line: on_event(json.loads(line))


def _checked(status: int, document: bytes) -> bytes:
    if status == _ERROR:
        raise Error(**json.loads(document))
    return document


def _report(status: int, document: bytes) -> Report:
    report: Report = json.loads(_checked(status, document))
    return report
