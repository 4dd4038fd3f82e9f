"""A toy target, made once for all tests of the room."""

from pathlib import Path

import pytest

from serving.text import TextCodec
from tests.serving.toy_folder import write_toy


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random target with tokenizer and chat template."""
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def codec(toy: Path) -> TextCodec:
    """The toy's tokenizer."""
    return TextCodec(toy)
