"""Routers of the registry, loaded to be measured; each with the embedding model that it was trained on."""

from dataclasses import replace
from pathlib import Path

from configs.errors import RegistryError, RouterError
from registry.names import CHAMPION, Reference
from registry.version import Version
from router.embedding_cache import CachedEncoder
from router.encoder import Encoder, load_encoder
from router.held_out import read_held_out
from router.storage import read_router
from router.topic_router import TopicRouter
from training.routing.measure import Sample
from training.routing.publish import Book
from training.routing.retrain import Serving


def find(book: Book, label: str) -> Version:
    """The version that people call ``router@v3``, ``v3``, ``champion`` or ``router``.

    Raises:
        RegistryError: there is none.
    """
    which = label.rpartition("@")[2]
    if label in ("router", ""):
        which = CHAMPION
    elif label not in (which, f"router@{which}"):
        raise RegistryError(
            f"{label} is no version of the router", do="write router@v3; see polydraft registry show router"
        )
    return book.registry.get(Reference.parse(f"router@{which}", book.deployment))


def load_version(version: Version, encoder: Encoder, cache: Path) -> Serving:
    """The router of ``version``.

    Args:
        encoder: used if it is the one that the router was trained on; else that one is loaded.

    Raises:
        RouterError: its files, or its embedding model, cannot be used.
    """
    stored = read_router(version.folder)
    if stored.fingerprint != encoder.fingerprint:
        tokens = stored.fingerprint.rpartition("-")[2]
        own = load_encoder(stored.embedding, int(tokens)) if tokens.isdigit() else load_encoder(stored.embedding)
        encoder = CachedEncoder(own, cache)
    return Serving.of(version.label, TopicRouter.load(version.folder, encoder), read_held_out(version.folder))


def own_sample(*routers: Serving) -> Sample:
    """The prompts that the first of ``routers`` was measured on, or the second, and so on.

    Raises:
        RouterError: none has kept any, or another one does not understand their embeddings.
    """
    found = next((router.held_out for router in routers if router.held_out is not None), None)
    names = " and ".join(router.label for router in routers)
    if found is None:
        raise RouterError(f"{names} came without the prompts that they were measured on", do="pass --data FILE")
    if any(router.encoder.fingerprint != found.fingerprint for router in routers):
        raise RouterError(f"{names} work with different embedding models", do="pass --data FILE")
    return Sample.of(found)


def seen_by(router: Serving, sample: Sample) -> Sample:
    """The same prompts as ``router`` embeds them."""
    return replace(sample, embeddings=router.encoder.encode(sample.texts)) if sample.texts else sample
