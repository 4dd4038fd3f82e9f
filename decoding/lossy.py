"""Rules that trade exactness for speed. Off unless a request asks for one by name; its reply says so."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Typical:
    """Accept what the target finds plausible: probability above min(epsilon, delta * exp(-entropy)).

    Source: typical acceptance, Medusa (Cai et al. 2024, section 2.3.1).

    Raises:
        ValueError: a value outside its range.
    """

    epsilon: float = 0.09
    delta: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon is {self.epsilon}; it must be between 0 and 1")
        if self.delta <= 0:
            raise ValueError(f"delta is {self.delta}; it must be above 0")


@dataclass(frozen=True, slots=True)
class Lenient:
    """Accept ``lenience`` times as readily as the exact rule does; 1 is exact.

    In a chain no token becomes more than ``lenience`` times as probable as the target makes it.
    Source: Leviathan et al. 2023, appendix A.5.

    Raises:
        ValueError: a value outside its range.
    """

    lenience: float = 2.0

    def __post_init__(self) -> None:
        if self.lenience < 1:
            raise ValueError(f"lenience is {self.lenience}; it must be 1 (exact) or more")


Lossy = Typical | Lenient
