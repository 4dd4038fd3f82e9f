"""Names, tags and texts that make MLflow's pages readable: the same words for every job and for the starter.

::

    run name              sql online from v8      while running
                          sql v9 online           once registered
    model description     what it drafts for, how to load it, licence of its data
    version description   0.6 runs per 100 tokens fewer than v8 (.2 to 1.0) on 212 held-out requests; ...
    run description       outcome, table against champion and control, command to repeat, command to undo
"""

from collections.abc import Sequence

from registry.names import router_model


def running_name(topic: str, job: str, parent: int | None = None) -> str:
    """``sql online from v8``, or ``sql distilled`` for a job that starts from nothing registered."""
    return f"{topic} {job} from v{parent}" if parent is not None else f"{topic} {job}"


def finished_name(topic: str, job: str, version: int) -> str:
    """``sql v9 online``."""
    return f"{topic} v{version} {job}"


def draft_description(prefix: str, topic: str, licence: str) -> str:
    """The description of a draft model: ``licence`` is a sentence about the data that its drafts learned from."""
    kind = "text of no particular topic" if topic == "general" else f"{topic} text"
    return (
        f"Drafts tokens for {kind}. The target of {prefix} checks every one of them: a version changes how fast "
        "answers come, never what they say. The alias `champion` serves, `challenger` waits.\n\n"
        f"An ordinary Hugging Face checkpoint; `polydraft registry show {topic}` names its folder:\n\n"
        "```python\n"
        "from transformers import AutoModelForCausalLM\n\n"
        "draft = AutoModelForCausalLM.from_pretrained(FOLDER)\n"
        "```\n\n"
        f"{licence}"
    )


def router_description(prefix: str, licence: str) -> str:
    """The description of the router model."""
    return (
        f"Chooses a draft of {prefix} for a query, or none. Numbers and JSON only; nothing is unpickled. "
        f"Made by `polydraft router retrain`; served as `registry://{router_model(prefix)}@champion`.\n\n{licence}"
    )


def version_description(outcome: str, made_from: str = "") -> str:
    """``OUTCOME; MADE_FROM.``: what came of it, and what it was trained from and on."""
    return "; ".join(part.rstrip(".") for part in (outcome, made_from) if part) + "."


def run_note(outcome: str, header: Sequence[str], rows: Sequence[Sequence[str]], repeat: str, undo: str = "") -> str:
    """The description of a run, in Markdown.

    Args:
        outcome: one sentence.
        header, rows: a small table, such as figure, candidate, champion, control.
        repeat, undo: commands.
    """
    parts = [outcome]
    if rows:
        lines = [list(header), ["---"] + ["--:"] * (len(header) - 1), *(list(row) for row in rows)]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    parts.append(f"Repeat: `{repeat}`")
    if undo:
        parts.append(f"Undo: `{undo}`")
    return "\n\n".join(parts)
