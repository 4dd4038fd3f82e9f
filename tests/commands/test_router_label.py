"""`polydraft router label` on a toy deployment."""

import json

import pytest
import yaml

from polydraft import main
from router.costs import CostTable
from tests.serving.toy_folder import toy_drafts, write_toys
from tests.training.online.streams import write_log
from tests.training.replay.recorded import params, trace_of

PRICES = ("--c", "0.1", "--w", "1,1.1,1.2")
RECORDS = [
    {"prompt": "the hen in the inn", "topic": "sql", "split": "train"},
    {"prompt": "an anther", "topic": "math", "split": "train"},
    {"prompt": "the thin one", "topic": "math", "split": "validation"},
]


@pytest.fixture
def deployment(tmp_path):
    write_toys(tmp_path)
    document = {
        "name": "toy",
        "target": {"model": str(tmp_path / "target"), "max_length": 64},
        "drafts": toy_drafts(tmp_path),
        "router": None,
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(each) + "\n" for each in RECORDS))
    return tmp_path


def label(place, capsys, *words):
    """Exit code, standard output, standard error."""
    config = ["--config", str(place / "toy.yaml"), "--output", str(place / "labels")]
    try:
        main(["router", "label", *config, *map(str, words)])
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class TestLabel:
    def test_a_document_says_what_was_done_and_what_came_of_it(self, deployment, capsys):
        """Rows by group and draft; the second time nothing is left to do, and the table is the same."""
        words = ("--data", deployment / "data.jsonl", "--tokens", 12, *PRICES, "--json")
        code, out, _ = label(deployment, capsys, *words)
        found = json.loads(out)
        assert (code, found["prompts"], found["answered"], found["left_out"]) == (0, 2, 2, 0)
        assert found["replayed"] == {"general": 2, "sql": 2, "math": 2}
        assert {(row["group"], row["draft"]) for row in found["groups"]} == {
            (group, draft) for group in ("sql", "math", "all") for draft in ("general", "sql", "math")
        }
        perfect = next(row for row in found["groups"] if (row["group"], row["draft"]) == ("all", "sql"))
        assert perfect["best_share"] > 0.9
        assert CostTable.load(deployment / "labels").digest == found["digest"]
        again = json.loads(label(deployment, capsys, *words)[1])
        assert (again["answered"], set(again["replayed"].values())) == (0, {0})
        assert again["digest"] == found["digest"]

    def test_a_table_for_people(self, deployment, capsys):
        """Of the split that is asked for."""
        words = ("--data", deployment / "data.jsonl", "--tokens", 12, *PRICES, "--split", "validation")
        code, out, err = label(deployment, capsys, *words)
        lines = [line.split("\t") for line in out.splitlines()]
        assert code == 0
        assert lines[0][:4] == ["group", "draft", "prompts", "tokens"]
        assert {tuple(line[:3]) for line in lines[1:]} == {("math", name, "1") for name in ("general", "sql", "math")}
        assert "as given" in err

    def test_recorded_answers_take_the_place_of_prompts(self, deployment, capsys):
        """Nothing is asked of the target."""
        from decoding.checkpoint import fingerprint
        from decoding.load import load_model

        target = load_model(deployment / "target", 4, 64)
        mark = fingerprint(deployment / "target")
        traces = [trace_of(target, [1, 9, 11 + n, 2], params(), str(n), fingerprint=mark) for n in range(3)]
        write_log(deployment / "log", traces)
        code, out, _ = label(deployment, capsys, "--traces", deployment / "log", *PRICES, "--json")
        found = json.loads(out)
        assert (code, found["prompts"], found["answered"]) == (0, 3, 0)
        assert {row["group"] for row in found["groups"]} == {"sql"}

    @pytest.mark.parametrize(
        ("words", "what"),
        [
            ((), "either --data or --traces"),
            (("--data", "none.jsonl"), "no file none.jsonl"),
            (("--data", "none.jsonl", "--split", "test"), "--split test"),
            (("--data", "none.jsonl", "--c", "0.1"), "go together"),
            (("--traces", "nowhere"), "no traces of this deployment's target"),
        ],
    )
    def test_what_cannot_be_labelled_is_refused(self, deployment, capsys, words, what):
        """Exit code 2 and a line."""
        code, _, err = label(deployment, capsys, *words)
        assert code == 2
        assert what in err
