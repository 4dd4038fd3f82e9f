"""The live page in a headless Chromium, before a real server with toy models and a registry."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from decoding.checkpoint import fingerprint
from docs.pictures.browser import PROGRAM, Browser, browser
from drafts.compatibility import tokenizer_fingerprint
from registry.section import RegistrySection
from registry.store import Registry
from serving.config import Deployment
from tests.e2e.processes import Server, server
from tests.e2e.test_lifecycle import changed

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")]

MODEL = "toy-draft-sql"
READY = "document.getElementById('state-text')?.textContent === 'Ready' && document.getElementById('draft').length > 2"
DONE = "!document.getElementById('verdict').hidden"
COUNTS = """Object.fromEntries(['draft', 'lookup', 'corrected', 'bonus', 'plain'].map(
  by => [by, document.querySelectorAll(`#answer .t.${by}`).length]))"""


@pytest.fixture(scope="module")
def registry(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry.open(RegistrySection(uri=f"sqlite:///{folder}/mlflow.db", poll_seconds=0.3))
    register(registry, toys, "math")
    return registry


def register(registry: Registry, toys: Path, folder: str, **tags: str) -> None:
    facts = {"target": fingerprint(toys / "target"), "tokenizer": tokenizer_fingerprint(toys / "target"), **tags}
    registry.register(MODEL, toys / folder, {"topic": "sql", **facts}, alias="champion")


@pytest.fixture(scope="module")
def running(deployment: Deployment, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    drafts: Any = deployment.drafts.model_dump()
    drafts["topics"]["sql"] = {"model": f"registry://{MODEL}@champion"}
    section = RegistrySection(uri=registry.location.tracking_uri, poll_seconds=0.3)
    followed = changed(deployment, registry=section.model_dump(), drafts=drafts)
    with server(followed, tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def page(running: Server) -> Iterator[Browser]:
    """The page, open and ready; nothing may go wrong in it, and it may ask nobody else."""
    with browser() as made:
        made.open(running.url, READY)
        yield made
        assert made.problems == []
        assert [url for url in made.requests if not url.startswith(running.url)] == []


def choose(page: Browser, **settings: str) -> None:
    for name, value in settings.items():
        page.evaluate(f"document.getElementById('{name}').value = '{value}'")


def text_of(page: Browser, name: str) -> str:
    return str(page.evaluate(f"document.getElementById('{name}').textContent"))


def reply(body: str) -> tuple[str, dict[str, Any]]:
    """Text and report of a streamed chat completion."""
    chunks = [json.loads(part.removeprefix("data: ")) for part in body.split("\n\n") if part.startswith("data: {")]
    text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    [report] = [chunk["polydraft"] for chunk in chunks if "origins" in chunk.get("polydraft", {})]
    return text, report


def test_tokens_are_coloured_as_the_reply_reports_them(page: Browser) -> None:
    """Typed, sent with Enter, streamed; as many of each writer, and the same text, drafted and plain."""
    choose(page, draft="math", length="64")
    page.press("/")
    page.type("the one on the")
    page.press("Enter")
    page.until(DONE)
    (text, report), (plain_text, plain) = [reply(body) for body in page.bodies("/v1/chat/completions")]
    counts = page.evaluate(COUNTS)
    assert {by: count for by, count in counts.items() if count} == report["origins"]
    assert report["origins"]["corrected"] > 0
    assert plain["origins"] == {"plain": sum(counts.values())}
    assert page.evaluate("document.getElementById('answer').textContent") == text == plain_text
    legend = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#legend b')].map(b => [b.dataset.by, +b.textContent]))"
    )
    assert {by: count for by, count in legend.items() if count} == report["origins"]
    assert "text identical" in text_of(page, "verdict")
    assert f"{report['num_target_runs']} target runs instead of {plain['num_target_runs']}" in text_of(page, "verdict")
    rects = "[...document.querySelectorAll('#runs .fill-draft, #runs .fill-corrected')]"
    columns = page.evaluate(f"new Set({rects}.map(rect => rect.getAttribute('x'))).size")
    assert columns == report["num_spec_steps"]
    assert f"{report['num_accepted_tokens']} of {report['num_draft_tokens']}" in text_of(page, "acceptance")


def test_an_answer_is_read_with_the_keyboard(page: Browser) -> None:
    """Each token says who wrote it and why; a corrected one what was guessed, and the target's own probabilities."""
    choose(page, draft="math", length="32")
    page.evaluate("document.getElementById('prompt').focus()")
    page.type("the one on the")
    page.press("Enter")
    page.until(DONE)
    page.evaluate("document.getElementById('answer').focus()")
    place = page.evaluate(
        "[...document.querySelectorAll('#answer .t')].findIndex(t => t.classList.contains('corrected'))"
    )
    for _ in range(place):
        page.press("ArrowRight")
    told = text_of(page, "inspect")
    assert f"Token {place + 1}: target, corrected" in told
    assert "was refused" in told
    assert "draft guessed" in told
    assert page.evaluate("document.querySelectorAll('#inspect .bars span').length") == 3
    page.press("End")
    assert text_of(page, "inspect").startswith("Token 32")
    page.press("Home")
    assert text_of(page, "inspect").startswith("Token 1:")


# However busy the machine is, an answer reaches the page an event at a time, so that there is a middle to stop in.
UNHURRIED = """{
  const real = window.fetch;
  window.fetch = async (url, options) => {
    const response = await real(url, options);
    if (!String(url).includes('completions')) return response;
    const pause = () => new Promise(resolve => setTimeout(resolve, 20));
    const events = response.body.pipeThrough(new TransformStream({
      async transform(block, out) {
        for (const event of new TextDecoder().decode(block).split(/(?<=\\n\\n)/)) {
          options.signal.throwIfAborted();
          out.enqueue(new TextEncoder().encode(event));
          await pause();
        }
      },
    }));
    return new Response(events, response);
  };
}"""


def test_escape_stops_and_keeps_what_came(page: Browser) -> None:
    """Pressed at the first tokens."""
    choose(page, draft="none", length="256")
    page.evaluate(UNHURRIED)
    page.evaluate("""new MutationObserver(
      () => document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))
    ).observe(document.getElementById('answer'), {childList: true})""")
    page.press("/")
    page.type("the one")
    page.press("Enter")
    page.until("!document.getElementById('trouble').hidden")
    shown = page.evaluate("document.querySelectorAll('#answer .t').length")
    assert 0 < shown < 256
    assert f"Stopped after {shown} tokens" in text_of(page, "trouble")
    page.until("document.getElementById('send').textContent.startsWith('Send')")


def test_a_request_that_cannot_be_served_says_why(page: Browser) -> None:
    """In the server's own words."""
    page.evaluate(f"document.getElementById('prompt').value = {json.dumps('the ' * 60_000)}")
    page.evaluate("document.getElementById('send').click()")
    page.until("!document.getElementById('trouble').hidden")
    assert "cannot fit" in text_of(page, "trouble")
    page.problems.clear()  # the browser logs a 400 as an error


def test_the_dashboard_shows_a_swap(page: Browser, registry: Registry, toys: Path) -> None:
    """The version, a mark in its topic's chart, and what changed; the load, and who answered."""
    assert page.evaluate("document.querySelectorAll('#topics article').length") == 2
    choose(page, draft="sql", length="64")
    page.evaluate("document.getElementById('race').checked = false")
    page.evaluate("document.getElementById('prompt').value = 'the one'")
    page.evaluate("document.getElementById('send').click()")
    cards = "[...document.querySelectorAll('#topics article')]"
    version = (
        f"{cards}.find(card => card.querySelector('h4').textContent === 'sql').querySelector('.version').textContent"
    )
    page.until("[...document.querySelectorAll('#matrix tbody tr')].some(row => row.querySelector('.live'))")
    assert page.evaluate(version) == "v1"
    register(registry, toys, "sql")
    page.until(f"({version}) === 'v2'")
    assert page.evaluate("document.querySelector('#topics .mark-text').textContent") == "v2"
    assert "v1 → v2" in text_of(page, "changes")
    assert page.evaluate("document.querySelectorAll('#load .fill-running').length") > 0
    choose(page, draft="sql")
    page.evaluate("document.getElementById('send').click()")
    page.until("document.querySelectorAll('#answer .t').length === 64 && !document.getElementById('figures').hidden")
    [*_, last] = page.bodies("/v1/chat/completions")
    assert reply(last)[1]["draft"] == "sql@v2"
    assert "sql v2" in text_of(page, "why")


def test_the_dashboard_says_what_was_refused_and_why(
    page: Browser, running: Server, registry: Registry, toys: Path
) -> None:
    """A version for another target: what serves goes on, degraded, and a counter rises."""
    serving = page.evaluate("document.querySelectorAll('#topics .version')[0].textContent")
    register(registry, toys, "sql", target="0" * 64)
    page.until("document.getElementById('changes').textContent.includes('made for another target')")
    page.until("document.getElementById('state-text').textContent === 'Degraded'")
    assert "made for another target" in text_of(page, "banner")
    assert page.evaluate("document.querySelectorAll('#topics .version')[0].textContent") == serving
    shown = httpx.get(f"{running.url}/metrics").text
    assert 'polydraft_draft_swaps_total{draft="sql",result="refused"} 1.0' in shown
    assert 'polydraft_degraded{reason="registry"} 1.0' in shown
    registry.rollback(MODEL)
    page.until("document.getElementById('state-text').textContent === 'Ready'")


def test_everything_has_a_name_and_nothing_is_wider_than_a_phone(page: Browser) -> None:
    """At 390 pixels and 200 %, in both themes, with an answer on the page."""
    page.evaluate("document.body.focus()")
    page.press("1")
    page.until(DONE)
    page.evaluate("document.getElementById('answer').focus()")
    assert page.unnamed() == []
    backgrounds = set()
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        for width in (390, 640, 1280):
            page.resize(width, mobile=width == 390)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (scheme, width)
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
    page.evaluate("document.getElementById('theme').click()")  # from as the system, which is dark, to dark
    page.evaluate("document.getElementById('theme').click()")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_single_keys_can_be_switched_off(page: Browser) -> None:
    """For those who speak to their computer; and they are just letters within a field."""
    page.press("?")
    assert page.evaluate("document.getElementById('keys').open")
    page.evaluate("document.getElementById('single-keys').click(); document.getElementById('keys').close()")
    page.evaluate("document.activeElement.blur()")
    page.press("/")
    assert page.evaluate("document.activeElement.id") != "prompt"


def test_a_key_is_asked_for_where_one_is_needed(deployment: Deployment, tmp_path: Path) -> None:
    """The page itself is open; what it shows is not."""
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    guarded = changed(deployment, serving={**deployment.serving.model_dump(), "api_keys_file": str(keys)})
    with server(guarded, tmp_path) as running, browser() as page:
        page.open(running.url, "document.getElementById('key-form')?.hidden === false")
        page.evaluate("document.getElementById('key').value = 'secret'")
        page.evaluate("document.getElementById('key-form').requestSubmit()")
        page.until(READY)
        page.press("/")
        page.type("the")
        page.press("Enter")
        page.until(DONE)


def test_figures_that_are_old_say_so(deployment: Deployment, tmp_path: Path) -> None:
    """When the server is gone, its last figures stay, and grey."""
    with browser() as page:
        with server(deployment, tmp_path) as running:
            page.open(running.url, READY)
        page.until("document.getElementById('board').classList.contains('stale')", seconds=30)
        assert "no data for" in text_of(page, "updated")
