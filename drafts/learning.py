"""Section of a deployment that says how its drafts go on learning while they serve."""

from typing import Literal

from pydantic import Field

from configs.section import Section


class LearningSection(Section):
    """What `polydraft learn` does with the traces; it needs ``traces.enabled``, too."""

    enabled: bool = Field(default=False, description="whether polydraft learn may train drafts of this deployment")
    every_requests: int = Field(default=200, ge=1, description="new requests of a topic that call for an update")
    steps: int = Field(default=100, ge=1, description="training steps of an update")
    learning_rate: float = Field(default=1e-4, gt=0, le=0.1, description="of AdamW; it falls to zero over the steps")
    loss: Literal["lk", "forward_kl", "reverse_kl", "jsd", "tvd"] = Field(
        default="lk", description="lk | forward_kl | reverse_kl | jsd | tvd"
    )
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the averaged weights that are the candidate")
    replay_share: float = Field(
        default=0.25, ge=0, lt=1, description="share of a lesson from older traces of the topic and of other topics"
    )
    heldout_share: float = Field(
        default=0.2, gt=0, lt=1, description="share of the prompts that the gate keeps and nobody trains on"
    )
    control: bool = Field(
        default=True,
        description="a candidate that beats the champion must not be behind offline distillation on the same traces",
    )
    promote: Literal["auto", "candidate"] = Field(
        default="auto", description="auto: what passes the gate becomes champion; candidate: it waits for somebody"
    )
    max_utilisation: float = Field(
        default=0.5, gt=0, le=1, description="training pauses where steps take more of the server's time than this"
    )
    shadow_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="of the traces, on which the drafts that were not chosen are scored for the router; 0: none",
    )
    drift_every_requests: int = Field(
        default=1000, ge=0, description="new requests, of all topics, that call for a look for drift; 0: never"
    )
