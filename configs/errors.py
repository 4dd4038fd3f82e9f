"""The one exception tree. Whoever raises says what is wrong and what to do about it.

::

    PolydraftError(ValueError)
    ├── ConfigError            a configuration file or command line cannot be used        exit 2
    ├── CheckpointError        a model folder is missing, damaged or of an unknown family exit 2
    ├── KernelError            the native kernel cannot be built or loaded here           exit 2
    ├── IncompatibleDraft      a draft was made for another target or tokenizer           exit 2
    ├── CorpusError            training text is missing or malformed                      exit 2
    ├── RouterError            a router file cannot be used                               exit 2
    ├── RegistryError          the registry cannot be reached, or lacks what was asked    exit 2
    ├── PeerError              an engine to compare with cannot be installed or run here  exit 2
    ├── RequestError           a request to the server cannot be served as asked          HTTP 400
    └── ServerError            the server cannot start or cannot answer                   exit 2
"""


class PolydraftError(ValueError):
    """Something a user can mend.

    Args:
        what: one line, no capital, no full stop: the thing that is wrong.
        do: what to do about it, a command where there is one.
        facts: indented lines between the two.
    """

    def __init__(self, what: str, do: str = "", facts: tuple[str, ...] = ()):
        super().__init__(what)
        self.what, self.do, self.facts = what, do, facts

    def __str__(self) -> str:
        lines = [self.what, *(f"  {fact}" for fact in self.facts)]
        if self.do:
            lines.append(f"  do: {self.do}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.what, self.do, self.facts)


class ConfigError(PolydraftError):
    """A configuration file or command line cannot be used."""


class CheckpointError(PolydraftError):
    """A model folder is missing, damaged, or of a family that the runtime does not know."""


class KernelError(PolydraftError):
    """The native kernel cannot be built or loaded on this machine."""


class IncompatibleDraft(PolydraftError):
    """A draft was made for another target or tokenizer."""


class CorpusError(PolydraftError):
    """Training text is missing or malformed."""


class RouterError(PolydraftError):
    """A router file cannot be used."""


class RegistryError(PolydraftError):
    """The registry cannot be reached, or lacks what was asked for."""


class PeerError(PolydraftError):
    """An engine to compare with cannot be installed here, or does not run."""


class RequestError(PolydraftError):
    """A request to the server cannot be served as asked; ``param`` names the field at fault."""

    def __init__(self, what: str, do: str = "", facts: tuple[str, ...] = (), param: str | None = None):
        super().__init__(what, do, facts)
        self.param = param


class ServerError(PolydraftError):
    """The server cannot start, or cannot answer."""
