"""A deployment that has never seen one topic: its drafts, its router, its registry; and how it is asked."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from configs.errors import ServerError
from drafts.compatibility import tokenizer_fingerprint
from drafts.pool import GENERAL
from registry.names import CHAMPION, draft_model, router_model
from registry.store import Registry
from router.embedding_cache import CachedEncoder
from router.prompts import FOREIGN
from router.topic_router import TopicRouter
from router.training import RouterSettings, train_router
from serving.config import Deployment
from training.experiments.arms import POOLED_RATE, TOPIC_RATE, Arm, train
from training.experiments.material import Material
from training.experiments.shapes import SHIPPED
from training.starter.corpus import TOPICS, read_topic
from training.topics.accepting import Known

NAME = "newtopic"
_AT_ONCE = 8  # requests
SETTINGS = RouterSettings(max_per_topic=600)

Told = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """A deployment without the late topic, registered, and what is needed to change it."""

    material: Material
    place: Path
    late: str
    told: Told

    @property
    def others(self) -> tuple[str, ...]:
        """The topics that are known."""
        return tuple(topic for topic in TOPICS if topic != self.late)

    @property
    def deployment(self) -> Deployment:
        reference = "registry://{}@champion"
        return Deployment.model_validate(
            {
                "name": NAME,
                "target": {"model": str(self.material.target)},
                "drafts": {
                    "general": {"model": reference.format(draft_model(NAME, GENERAL))},
                    "topics": {t: {"model": reference.format(draft_model(NAME, t))} for t in self.others},
                    "follow": True,
                },
                "router": {"model": reference.format(router_model(NAME))},
                "registry": {"uri": f"sqlite:///{self.place}/mlflow.db", "poll_seconds": 1},
                "traces": {"enabled": True, "folder": str(self.place / "traces"), "segment_seconds": 1},
            }
        )

    def prompts(self, topic: str, split: str) -> list[str]:
        """Each once, those that fit."""
        found = dict.fromkeys(example.prompt for example in read_topic(self.material.data, topic, split))
        return [prompt for prompt in found if len(prompt) < 4 * self.material.budget.max_length // 2]

    def pooled(self) -> Arm:
        """The general draft: of all topics but the late one."""
        budget = self.material.budget
        return Arm(
            SHIPPED, tuple((topic, None) for topic in self.others), budget.pooled_epochs, POOLED_RATE, budget.seeds[0]
        )

    def own(self, topic: str) -> Arm:
        """A known topic's draft."""
        budget = self.material.budget
        return Arm(SHIPPED, ((topic, None),), budget.topic_epochs, TOPIC_RATE, budget.seeds[0], start=self.pooled())

    def register(self, registry: Registry, encoder: CachedEncoder) -> TopicRouter:
        """Drafts and router without the late topic, as champions."""
        tags = {
            "target": self.material.fingerprint,
            "tokenizer": tokenizer_fingerprint(self.material.target),
        }
        for name, arm in {GENERAL: self.pooled(), **{topic: self.own(topic) for topic in self.others}}.items():
            folder = train(arm, self.material)
            registry.register(draft_model(NAME, name), folder, {**tags, "topic": name}, alias=CHAMPION)
        self.told("the router without the late topic")
        router, _ = train_router(self.known().topics, self.known().foreign, encoder, settings=SETTINGS)
        router.save(self.place / "router")
        registry.register(router_model(NAME), self.place / "router", {"topic": "router"}, alias=CHAMPION)
        return router

    def known(self) -> Known:
        """What routers are trained on."""
        return Known({topic: self.prompts(topic, "train") for topic in self.others}, self.prompts(FOREIGN, "train"))


def ask(url: str, prompt: str, tokens: int, draft: str = "auto") -> dict[str, Any]:
    """A greedy answer to one question.

    Raises:
        ServerError: there is none.
    """
    body = {
        "model": NAME,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": tokens,
        "draft": draft,
    }
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)
    if answer.status_code != 200:
        raise ServerError(f"the server answered {answer.status_code}: {answer.text[:200]}")
    document: dict[str, Any] = answer.json()
    return document


def ask_all(url: str, prompts: Iterable[str], tokens: int) -> None:
    """Ask all of them, a few at once; what they are told does not matter."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda prompt: ask(url, prompt, tokens), prompts):
            pass
