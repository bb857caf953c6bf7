"""What a stage reports while it works. The command line shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Gets a call when work starts and when it ends."""

    def expect(self, stage: str, count: int) -> None:
        """`count` pieces of work of a stage are ahead."""

    def started(self, stage: str, subject: str) -> None:
        """Work on a subject has begun."""

    def finished(self, stage: str, subject: str, said: str, *, reused: bool) -> None:
        """Work on a subject has ended; `said` is its outcome in a few words."""

    def tell(self, text: str) -> None:
        """Something happened that the user should know, whatever else is not shown."""
