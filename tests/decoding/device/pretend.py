"""A GPU that is not there: tensors with shapes and devices but no numbers.

torch's FakeTensorMode runs operators on shapes alone. Mixing devices raises, and so does any look at a number, which on
a real GPU would make the host wait. A build of torch without CUDA knows no CUDA tensors, so another name stands for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

NAME = "pretend"


class _Hook(torch._C._acc.PrivateUse1Hooks):  # type: ignore[name-defined, misc]
    """Says that there is no such device, so that nobody else in this process picks it."""

    def is_available(self) -> bool:
        return False

    def has_primary_context(self, dev_id: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


class _Module(backend_registration._DummyBackendModule):
    def is_available(self) -> bool:
        return False


@contextmanager
def pretend_gpu() -> Iterator[torch.device]:
    """A device on which only shapes are computed."""
    if not hasattr(torch, NAME):
        backend_registration._setup_privateuseone_for_python_backend(NAME, _Module(), _Hook())
    with FakeTensorMode(allow_non_fake_inputs=False):
        yield torch.device(NAME, 0)
