from pathlib import Path

import pytest

from configs.errors import RegistryError
from registry.content import content_digest
from tests.registry.conftest import MakeFolder


def test_the_digest_depends_on_bytes_and_names_only(make_folder: MakeFolder) -> None:
    """Equal folders in different places have one digest; a changed byte or name has another."""
    first, same, other = make_folder("a", "first"), make_folder("a", "same"), make_folder("b", "other")
    assert content_digest(first) == content_digest(same) != content_digest(other)
    (same / "config.json").rename(same / "renamed.json")
    assert content_digest(first) != content_digest(same)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "router.pkl", "model.py"])
def test_files_that_run_code_are_refused(make_folder: MakeFolder, name: str) -> None:
    """Versions hold data only."""
    folder = make_folder()
    (folder / name).write_text("")
    with pytest.raises(RegistryError, match=name):
        content_digest(folder)


def test_nothing_is_no_content(tmp_path: Path) -> None:
    """A missing or empty folder is an error that names it."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RegistryError, match=str(folder)):
            content_digest(folder)
