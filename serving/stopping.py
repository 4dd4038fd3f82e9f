"""Stop strings: found across token borders, and never shown, not even their beginning."""

from collections.abc import Sequence


class StopMatcher:
    """Watches a text as it grows and says how much of it may be shown.

    What could still become a stop string is held back; once one is complete, the text ends before it.
    """

    def __init__(self, stop_strings: Sequence[str]):
        self._stops = tuple(stop_strings)
        self._held = ""
        self.stopped = False

    def feed(self, piece: str) -> str:
        """Take the next piece and return what may be shown now."""
        assert not self.stopped
        text = self._held + piece
        starts = [start for stop in self._stops if (start := text.find(stop)) >= 0]
        if starts:
            self.stopped, self._held = True, ""
            return text[: min(starts)]
        kept = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def flush(self) -> str:
        """The answer is over: what was held back is text after all."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
