"""Take the pictures of MLflow's pages that docs/draft.md shows.

Needs Chromium (Debian: ``apt-get install chromium``) and the pages being served by ``make ui``::

    python docs/pictures/mlflow_pages.py sql

writes beside this file ``mlflow_draft.png`` (the draft with its versions), and of the run that made the newest version
``mlflow_run.png`` (outcome, data, parameters) and ``mlflow_curves.png``.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import httpx
from browser import Browser

HERE = Path(__file__).parent
# The assistant's panel takes a third of the page and says nothing about drafts; nor does its button.
_CLOSE = """document.querySelector('[data-component-id="mlflow.assistant.chat_panel.close"]')?.click()"""
_HIDE = """document.head.insertAdjacentHTML('beforeend',
  '<style>[data-component-id="mlflow.assistant.fab"], .modebar { display: none !important }</style>')"""
_FOLD_TAGS = (
    """[...document.querySelectorAll('[role=button]')].find(each => each.innerText.trim() === 'Tags')?.click()"""
)
_SEARCH = """document.querySelector('input[placeholder^="Search metric"]').focus()"""
_DRAWN = "document.querySelectorAll('svg.main-svg').length > 0 && !document.querySelector('.animate-spin')"


class Pages(Browser):
    """MLflow's pages, without what is about MLflow itself."""

    def show(self, url: str, wait_for: str) -> None:
        """Open ``url``, wait until the page says ``wait_for``, and put the assistant away."""
        self.open(url, f"document.body?.innerText.includes({json.dumps(wait_for)})")
        self.evaluate(_CLOSE)
        time.sleep(3)
        self.evaluate(_HIDE)

    def draw(self, charts: str) -> None:
        """Show the charts whose names match ``charts``, and wait until they are drawn."""
        self.evaluate(_SEARCH)
        self.type(charts)
        self.until(_DRAWN)
        time.sleep(5)  # a chart is an empty frame for a while


def newest_run(server: str, model: str) -> tuple[str, str]:
    """Experiment and run of the newest version of ``model``."""
    api = f"{server}/api/2.0/mlflow"
    order = {"filter": f"name = '{model}'", "order_by": "version_number DESC", "max_results": 1}
    found = httpx.get(f"{api}/model-versions/search", params=order).raise_for_status().json()
    run_id = found["model_versions"][0]["run_id"]
    run = httpx.get(f"{api}/runs/get", params={"run_id": run_id}).raise_for_status().json()
    return run["run"]["info"]["experiment_id"], run_id


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic")
    parser.add_argument("--server", default="http://127.0.0.1:5000")
    parser.add_argument("--name", default="starter", help="of the deployment")
    options = parser.parse_args()
    model = f"{options.name}-draft-{options.topic}"
    experiment, run = newest_run(options.server, model)
    training = "?workflowType=machine_learning"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        pages = Pages(folder)
        try:
            pages.show(f"{options.server}/#/models/{model}{training}", "Version 1")
            pages.evaluate(_FOLD_TAGS)
            pages.picture(HERE / "mlflow_draft.png", height=1240)
            page = f"{options.server}/#/experiments/{experiment}/runs/{run}"
            pages.show(f"{page}{training}", "Datasets")
            pages.picture(HERE / "mlflow_run.png", height=1300)
            pages.show(f"{page}/model-metrics{training}", "acceptance")
            pages.draw("^acceptance/alpha|^loss")
            pages.picture(HERE / "mlflow_curves.png", height=1000)
        finally:
            pages.close()


if __name__ == "__main__":
    main()
