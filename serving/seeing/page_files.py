"""The live page's files, read once. They ask nobody but this server for anything."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """Bytes and what they are."""

    content: bytes
    content_type: str


def page_files() -> dict[str, PageFile]:
    """By name. A request picks one of these names or none, so no path of a client's reaches the disk."""
    return {
        file.name: PageFile(file.read_bytes(), _TYPES[file.suffix])
        for file in sorted(FOLDER.iterdir())
        if file.suffix in _TYPES
    }
