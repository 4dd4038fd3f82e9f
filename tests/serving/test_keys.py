import pytest

from configs.errors import ConfigError
from serving.keys import read_keys
from serving.section import KEYS_VARIABLE as VARIABLE
from serving.section import ServingSection


def test_keys_come_from_the_file_and_the_environment(tmp_path):
    """One a line there, separated by commas or white space here; each once."""
    file = tmp_path / "keys"
    file.write_text("first\n\n second \n")
    section = ServingSection(host="0.0.0.0", api_keys_file=str(file))
    assert read_keys(section, section.host, {}) == (b"first", b"second")
    assert read_keys(section, section.host, {VARIABLE: "third,first\nfourth"}) == (
        b"first",
        b"second",
        b"third",
        b"fourth",
    )


def test_only_loopback_may_be_without():
    """Also where --host opens a deployment that is closed in its file."""
    section = ServingSection()
    assert read_keys(section, "127.0.0.1", {}) == read_keys(section, "::1", {VARIABLE: " , "}) == ()
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 is open to the network"):
        read_keys(section, "0.0.0.0", {})
    assert read_keys(section, "0.0.0.0", {VARIABLE: "key"}) == (b"key",)


def test_a_file_that_is_missing_or_empty_is_named(tmp_path):
    """An empty one would otherwise leave the server open."""
    file = tmp_path / "keys"
    section = ServingSection(api_keys_file=str(file))
    with pytest.raises(ConfigError, match="cannot read"):
        read_keys(section, "127.0.0.1", {VARIABLE: "key"})
    file.write_text("\n \n")
    with pytest.raises(ConfigError, match="holds no key"):
        read_keys(section, "127.0.0.1", {VARIABLE: "key"})
