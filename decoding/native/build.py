"""Compiles `kernel.cpp` for this machine on first use and keeps the library in the user's cache folder.

The library is named after everything that shapes it (source, compiler, flags, processor), so a changed source
or a home folder shared by different machines never loads the wrong one. It is written beside its final name and
moved there in one step: processes that build at the same time do the work twice and end with the same file.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from configs.errors import KernelError

SOURCE = Path(__file__).with_name("kernel.cpp")
HEADERS = tuple(Path(__file__).with_name(name) for name in ("vector.h", "tiles.h", "bytes.h", "choice.h"))
# -ffp-contract=off: without it two copies of one loop may round differently, and a row's bits depend on its batch.
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", "-w")
COMPILERS = ("c++", "g++", "clang++")
COMPILE_TIMEOUT = 300.0  # seconds


@functools.cache
def load_kernel(machine_flags: tuple[str, ...] = ("-march=native",)) -> ctypes.CDLL:
    """The kernel's library with its functions declared, built first where the cache lacks it.

    Args:
        machine_flags: what to compile for; tests name older machines.

    Raises:
        KernelError: no compiler, a compiler that fails, or a cache folder that cannot be written.
    """
    path = build(find_compiler(), machine_flags)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelError(
            "the compiled kernel cannot be loaded", f"delete {path} and start again", (str(error),)
        ) from error
    pointer = ctypes.c_void_p
    for fact in (library.polydraft_panel, library.polydraft_has_tiles, library.polydraft_has_bytes):
        fact.argtypes, fact.restype = [], ctypes.c_int32
    library.polydraft_scratch.argtypes = [pointer, ctypes.c_int32, ctypes.c_int32]
    library.polydraft_scratch.restype = ctypes.c_int64
    library.polydraft_forward.argtypes, library.polydraft_forward.restype = [pointer] * 6, None
    library.polydraft_argmax.argtypes = [pointer, ctypes.c_int32, ctypes.c_int32, pointer]
    library.polydraft_argmax.restype = None
    library.polydraft_draft.argtypes = [*[pointer] * 5, ctypes.c_int32, *[pointer] * 4]
    library.polydraft_draft.restype = None
    library.polydraft_walk.argtypes = [pointer, pointer, ctypes.c_int32, pointer]
    library.polydraft_walk.restype = ctypes.c_int32
    library.polydraft_choose.argtypes = [pointer] * 3
    library.polydraft_choose.restype = None
    return library


def find_compiler() -> list[str]:
    """The command of a C++ compiler: $CXX if set, else the first of c++, g++ and clang++ that exists.

    Raises:
        KernelError: there is none.
    """
    chosen = shlex.split(os.environ.get("CXX", ""))
    for command in [chosen] if chosen else [[name] for name in COMPILERS]:
        program = shutil.which(command[0])
        if program:
            return [program, *command[1:]]
    what = f"$CXX names {chosen[0]}, which is not there" if chosen else "no C++ compiler on this machine"
    raise KernelError(what, "install one (Debian, Ubuntu: apt install g++) or point $CXX at it")


def build(compiler: list[str], machine_flags: tuple[str, ...]) -> Path:
    """Path of the library, compiled unless the cache holds it.

    Raises:
        KernelError: the compiler fails, or the cache folder cannot be written.
    """
    target = cache_folder() / f"kernel-{_key(compiler, machine_flags)}.so"
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".so", prefix="building-", dir=target.parent)
    except OSError as error:
        do = "make it writable, or set $XDG_CACHE_HOME to a folder that is"
        raise KernelError(f"cannot write the compiled kernel to {target.parent}", do, (str(error),)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        _run([*compiler, *FLAGS, *machine_flags, f"-I{HEADERS[0].parent}", str(SOURCE), "-o", name])
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def cache_folder() -> Path:
    """Where compiled kernels are kept: polydraft/kernels in $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polydraft" / "kernels"


def _key(compiler: list[str], machine_flags: tuple[str, ...]) -> str:
    parts = (_run([*compiler, "--version"]), *FLAGS, *machine_flags, processor())
    return hashlib.sha256((source_digest() + "\0".join(parts)).encode()).hexdigest()[:20]


def source_digest() -> str:
    """Of everything that the kernel is compiled from."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in (SOURCE, *HEADERS))).hexdigest()


def processor() -> str:
    """What -march=native depends on: the processor's model and features where Linux lists them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    first = text.split("\n\n", 1)[0].splitlines()
    return "\n".join(
        line for line in first if line.startswith(("model", "cpu family", "stepping", "flags", "Features"))
    )


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT, check=True)
    except subprocess.CalledProcessError as error:
        facts = tuple(error.stderr.strip().splitlines()[:3])
        raise KernelError(
            f"{command[0]} failed with status {error.returncode}", "try another compiler in $CXX", facts
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"{command[0]} did not run", "try another compiler in $CXX", (str(error),)) from error
    return done.stdout
