"""How every command speaks: data on standard output, hints and progress on standard error.

Exit codes: 0 yes; 1 ran well and the answer is no; 2 error; 130 interrupted.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, PolydraftError

EXIT_YES, EXIT_NO, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130


def emit(document: Any, output: Path | None) -> None:
    """Write one JSON document to ``output`` (whole or not at all), or to standard output."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        write_whole(output, text)


def emit_line(record: Mapping[str, Any]) -> None:
    """One JSON record on one line of standard output, at once."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def write_whole(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``; readers see the old content or the new, never a part."""
    if not path.parent.is_dir():
        raise ConfigError(f"no folder {path.parent} to write {path.name} into", do=f"mkdir -p {path.parent}")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)


def read_records(source: Path, needed: Sequence[str]) -> Iterator[dict[str, Any]]:
    """JSON objects, one a line, from a file or, for ``-``, standard input.

    Raises:
        ConfigError: the file is missing, or a line is not an object with the ``needed`` keys.
    """
    if str(source) == "-":
        yield from _records(sys.stdin, "standard input", needed)
        return
    if not source.is_file():
        raise ConfigError(f"no file {source}", do="pass a file with one JSON object a line, or - for standard input")
    with source.open(encoding="utf-8", newline="\n") as lines:
        yield from _records(lines, str(source), needed)


def _records(lines: Iterable[str], where: str, needed: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{where}:{number}: not JSON ({error.msg})") from None
        missing = [key for key in needed if not isinstance(record, dict) or key not in record]
        if missing:
            raise ConfigError(f"{where}:{number}: needs {', '.join(missing)}")
        yield record


def hint(text: str) -> None:
    """A line for people on standard error."""
    sys.stderr.write(text + "\n")


def show_error(error: PolydraftError, as_json: bool) -> None:
    """The error in its one form: what, facts, what to do."""
    if as_json:
        emit({"error": {"what": error.what, "why": list(error.facts), "do": error.do}}, None)
    else:
        hint(f"error: {error}")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns on a terminal, tab-separated elsewhere."""
    lines = [list(header), *(list(row) for row in rows)]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(line) + "\n" for line in lines)
        return
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [_aligned(cell, width) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  " + "  ".join(cells).rstrip() + "\n")


def _aligned(cell: str, width: int) -> str:
    figure = cell[:1].isdigit() or cell[:1] in (".", "-", "+")
    return cell.rjust(width) if figure else cell.ljust(width)
