"""The router that ships with the project, with the real encoder, on held-out prompts."""

import random
import time
from pathlib import Path

import pytest

from router.encoder import SentenceEncoder, load_encoder
from router.evaluation import evaluate_router
from router.topic_router import TopicRouter
from training.starter.corpus import TOPICS, read_topic

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
FOLDER = ROOT / "starter" / "router"
LEAST_AUROC, MOST_ECE = 0.98, 0.03

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="starter/router is not there: run the starter recipe")


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return load_encoder()


@pytest.fixture(scope="module")
def router(encoder: SentenceEncoder) -> TopicRouter:
    return TopicRouter.load(FOLDER, encoder)


def held_out(topic: str, count: int) -> list[str]:
    prompts = sorted({example.prompt for example in read_topic(DATA, topic, "validation")})
    random.Random(1).shuffle(prompts)
    return prompts[:count]


def test_the_folder_is_small() -> None:
    """It travels with the repository: under two megabytes."""
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000


def test_its_own_figures_reach_the_bars(router: TopicRouter) -> None:
    """Those of the prompts that its thresholds were set on, which it came with."""
    figures = router.figures
    assert figures["scope/auroc"] >= LEAST_AUROC
    assert figures["calibration/ece"] <= MOST_ECE
    assert figures["calibration/ece_if_calibrated"] < MOST_ECE  # there were prompts enough to tell


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no prompts in {DATA}: pass them there to measure the router")
@pytest.mark.slow
def test_the_starter_router_holds_its_bars_on_held_out_prompts(router: TopicRouter) -> None:
    """Topics right 96 of 100, foreign ones rejected 90 of 100, topic prompts rejected 3 of 100, with sampling slack.

    AUROC of scope is 0.98 or more, the calibration error at most 0.03 beyond that of perfect calibration.

    The full measurement is in the figures of the change that trained it; this sample notices a broken one.
    """
    report = evaluate_router(router, {topic: held_out(topic, 50) for topic in TOPICS}, held_out("out_of_scope", 250))
    assert report.topic_accuracy >= 0.95
    assert report.foreign_share("out_of_scope") >= 0.90
    assert report.in_topic_share("out_of_scope") <= 0.04
    assert report.auroc >= LEAST_AUROC
    assert report.ece <= report.ece_if_calibrated + MOST_ECE


@pytest.mark.parametrize("text", ["", " \n ", "\ud800", "1234567890", "😀" * 50])
def test_text_that_says_nothing_is_out_of_scope(router: TopicRouter, text: str) -> None:
    """Empty, broken and wordless queries get the general draft and no error."""
    assert router.decide(text).reason == "out_of_scope"


def test_plain_examples_go_where_a_reader_would_send_them(router: TopicRouter) -> None:
    """One obvious query a topic, and two everyday requests that belong to none."""
    texts = {
        "List the names of all employees in the sales department.": "sql",
        "A train travels 60 miles in 1.5 hours. What is its speed?": "math",
        "Write a Python function that reverses a string": "python",
        "Find all files larger than 100 MB under /var": "shell",
        "What are the symptoms of diabetes?": "medical",
        "Imagine you are a medieval knight describing your day": "chat",
        "What's the weather like in Paris tomorrow?": None,
        "Remind me to call my mother at six": None,
    }
    assert {text: router.decide(text).topic for text in texts} == texts


def test_a_very_long_query_is_cut_before_it_costs_anything(router: TopicRouter, encoder: SentenceEncoder) -> None:
    """Ten megabytes take about as long as one screen, and give what their beginning gives."""
    beginning = "Write a Python function that sorts a list of numbers. " * 60
    assert router.decide(beginning * 3000).topic == router.decide(beginning).topic
    started = time.monotonic()
    encoder.encode([beginning * 3000])
    assert time.monotonic() - started < 5.0
