"""Toy models and their traffic, as in the tests of online learning."""

from tests.training.online.conftest import _one_thread, models, registry, template_database

__all__ = ["_one_thread", "models", "registry", "template_database"]
