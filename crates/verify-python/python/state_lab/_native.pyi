from typing import Callable, Optional, Tuple, final

@final
class Cancellation:
    """Ends calls from another thread."""

    def __new__(cls) -> Cancellation: ...
    def cancel(self) -> None:
        """Ends every call that has this token, and those that it is passed to later."""
    @property
    def cancelled(self) -> bool:
        """True once it was used."""

_OnEvent = Optional[Callable[[str], object]]
_Answer = Tuple[int, bytes]

def capture(conninfo: str, options: str, on_event: _OnEvent, token: Optional[Cancellation]) -> _Answer: ...
def verify(
    manifest: bytes, conninfo: str, options: str, on_event: _OnEvent, token: Optional[Cancellation]
) -> _Answer: ...
def compare(
    source: str, restored: str, options: str, on_event: _OnEvent, token: Optional[Cancellation]
) -> _Answer: ...
