"""Building the kernel: once a machine, safely from many processes, and never in the way of starting."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.errors import KernelError
from decoding.load import load_model
from decoding.native import build as native_build
from decoding.native.build import build, cache_folder, find_compiler, load_kernel
from decoding.native_model import NativeModel
from decoding.span import Span
from decoding.torch_model import TorchModel
from tests.decoding.conftest import Checkpoint

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("-O0",)  # wins over -O3: these tests are about files, not speed


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without compilers, and nothing loaded before."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    load_kernel.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_torch_takes_over_and_says_so(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """auto falls back with one warning that names the gain and the remedy; the model works."""
    with caplog.at_level(logging.WARNING):
        model = load_model(checkpoint(), num_slots=1, max_length=16)
    assert isinstance(model, TorchModel)
    (record,) = caplog.records
    assert "several times slower" in record.getMessage()
    assert "install one" in record.getMessage()
    assert torch.isfinite(model.forward([Span(0, [1, 2])])).all()


@pytest.mark.usefixtures("no_compiler")
def test_native_by_name_is_an_error_without_a_compiler(checkpoint: Checkpoint) -> None:
    """Who asks for the native backend does not get another one silently."""
    with pytest.raises(KernelError, match="no C\\+\\+ compiler"):
        load_model(checkpoint(), num_slots=1, max_length=16, backend="native")


def test_auto_is_native_where_a_compiler_is(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler the fast model is the default."""
    monkeypatch.delenv("XDG_CACHE_HOME")  # the real cache, which other tests have filled
    assert isinstance(load_model(checkpoint(), num_slots=1, max_length=16), NativeModel)


def test_an_unknown_backend_is_refused(checkpoint: Checkpoint) -> None:
    """A misspelt backend is a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="auto, native, torch"):
        load_model(checkpoint(), num_slots=1, max_length=16, backend="cuda")


def test_a_built_kernel_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second build finds the file of the first and does not compile."""
    first = build(find_compiler(), QUICK)
    changed = first.stat().st_mtime_ns
    assert build(find_compiler(), QUICK) == first
    assert first.stat().st_mtime_ns == changed
    assert [first] == list(cache_folder().iterdir())


def test_another_source_or_flag_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever shapes the library is part of its name."""
    names = {build(find_compiler(), QUICK), build(find_compiler(), (*QUICK, "-DOTHER"))}
    edited = tmp_path / "kernel.cpp"
    edited.write_text(native_build.SOURCE.read_text() + "// edited\n")
    monkeypatch.setattr(native_build, "SOURCE", edited)
    names.add(build(find_compiler(), QUICK))
    assert len(names) == 3


def test_processes_may_build_at_the_same_time() -> None:
    """Two builders end with one loadable file and leave nothing half-written."""
    script = "from decoding.native.build import load_kernel; assert load_kernel(('-O0',)).polydraft_panel() > 0"
    builders = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(2)]
    assert [builder.wait(timeout=120) for builder in builders] == [0, 0]
    (library,) = cache_folder().iterdir()
    assert library.name.startswith("kernel-")


def test_a_failing_compiler_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """The compiler's first words are in the error; no temporary file stays."""
    with pytest.raises(KernelError, match="failed with status") as raised:
        build(find_compiler(), ("-fno-such-flag",))
    assert "no-such-flag" in str(raised.value)
    assert list(cache_folder().iterdir()) == []


def test_cxx_chooses_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """$CXX may carry arguments, and one that does not exist is named."""
    compiler = find_compiler()
    monkeypatch.setenv("CXX", f"{compiler[0]} -pipe")
    assert find_compiler() == [compiler[0], "-pipe"]
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(KernelError, match="no-such-compiler"):
        find_compiler()


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache path that is a file is named with the way out."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(KernelError, match="cannot write") as raised:
        build(find_compiler(), QUICK)
    assert "XDG_CACHE_HOME" in raised.value.do
