from tests.registry.conftest import empty_home, home, registry, template_database

__all__ = ["empty_home", "home", "registry", "template_database"]
