"""One log line on what was done to the images of a data set; Pillow without its warnings and its limit."""

from __future__ import annotations

import logging
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from PIL import Image

ON_WHITE = "with transparency, composed on white"
ON_BLACK = "with transparency, composed on black, since what they show is white"
SCALED = "of more than 8 bits a channel, scaled to 8"
NO_METADATA = "with metadata that cannot be read, which was ignored"

LOCK = threading.Lock()
READERS: list[ExitStack] = []  # one for each `lenient` in progress; the first restores Pillow's settings
HEARD = threading.local()  # .messages: Pillow's warnings in this thread

log = logging.getLogger("glimpse_env")


class Notes:
    """Counts what was done to images, from several threads, for one log line."""

    def __init__(self, title: str) -> None:
        """Begin for images called `title`."""
        self.title = title
        self.seen: list[str] = []  # appending is safe among threads

    def add(self, done: set[str]) -> None:
        """Count what was done to one image: some of the texts above."""
        self.seen.extend(done)

    def report(self) -> None:
        """Log the counts, if there are any."""
        counts = sorted(Counter(self.seen).items())
        if counts:
            texts = [f"{count:,} image{'s' * (count > 1)} {what}" for what, count in counts]
            log.warning("%s: %s", self.title, "; ".join(texts))
        self.seen = []


@contextmanager
def lenient() -> Iterator[list[str]]:
    """Let Pillow open images of any size, and yield the list of its warnings in this thread: none is shown.

    These are settings of the process: the first thread that enters changes them, the last restores them.
    """
    messages: list[str] = []
    outer = getattr(HEARD, "messages", None)
    with LOCK:
        READERS.append(READERS[0] if READERS else change_settings())
    HEARD.messages = messages
    try:
        yield messages
    finally:
        HEARD.messages = outer
        with LOCK:
            settings = READERS.pop()
            if not READERS:
                settings.close()


def change_settings() -> ExitStack:
    """Take Pillow's limit away and collect its warnings; closing the result undoes it."""
    settings = ExitStack()
    settings.enter_context(warnings.catch_warnings())
    show = warnings.showwarning

    def collect(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        messages = getattr(HEARD, "messages", None)
        if messages is None:
            show(message, category, filename, *rest)
        elif not issubclass(category, DeprecationWarning):  # that one is for those who write programs
            messages.append(str(message))

    warnings.filterwarnings("always", module="PIL")
    warnings.showwarning = collect
    settings.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = None
    return settings
