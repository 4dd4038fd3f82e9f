"""Base of every configuration section: frozen, typed, unknown keys refused."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section of a deployment configuration, declared in the room that owns its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
