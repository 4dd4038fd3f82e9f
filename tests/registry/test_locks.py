import threading
from pathlib import Path

from registry.locks import attempt, exclusive


def test_a_second_holder_waits_for_the_first(tmp_path: Path) -> None:
    """What two holders do never overlaps."""
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with exclusive(tmp_path / "locks" / "a.lock"):
            order.append("second")

    with exclusive(tmp_path / "locks" / "a.lock"):
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait(5)
        thread.join(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_different_locks_do_not_meet(tmp_path: Path) -> None:
    """Two models can be promoted at the same time."""
    with exclusive(tmp_path / "a.lock"), exclusive(tmp_path / "b.lock"):
        pass


def test_an_attempt_does_not_wait(tmp_path: Path) -> None:
    """It says whether it holds the lock; afterwards the lock is free."""
    with exclusive(tmp_path / "a.lock"), attempt(tmp_path / "a.lock") as held:
        assert not held
    with attempt(tmp_path / "a.lock") as held:
        assert held
