from pathlib import Path

import pytest

from configs.errors import ConfigError
from serving.config import Deployment, deployment_of, load_deployment

CONFIGS = Path(__file__).parents[2] / "configs"


def load(folder: Path, text: str) -> Deployment:
    file = folder / "deployment.yaml"
    file.write_text(text)
    return load_deployment(file)


class TestExamples:
    def test_the_starter_file_says_what_is_the_default_anyway(self) -> None:
        """It is documentation: an empty file does the same."""
        assert load_deployment(CONFIGS / "starter.yaml") == Deployment() == deployment_of(None)

    def test_the_starter_file_shows_every_key(self) -> None:
        """A key that exists must be found there."""
        text = (CONFIGS / "starter.yaml").read_text()
        sections = Deployment().model_dump()
        keys = [key for name in sections if isinstance(sections[name], dict) for key in sections[name]]
        assert [key for key in [*sections, *keys] if f"{key}:" not in text] == []

    @pytest.mark.parametrize(
        ("file", "target", "draft"),
        [
            ("qwen3-8b.yaml", "Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B"),
            ("llama3-8b.yaml", "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
        ],
    )
    def test_the_examples_for_real_models_are_valid(self, file: str, target: str, draft: str) -> None:
        """They name models of the Hugging Face hub, of one family each."""
        deployment = load_deployment(CONFIGS / file)
        assert deployment.drafts.general is not None
        assert (deployment.target.model, deployment.drafts.general.model) == (target, draft)


class TestLoadDeployment:
    def test_an_empty_file_serves_the_starter(self, tmp_path: Path) -> None:
        """So do comments alone, and sections without content."""
        assert load(tmp_path, "") == load(tmp_path, "# nothing\n") == load(tmp_path, "serving:\n") == Deployment()

    def test_null_in_so_many_words_means_none(self, tmp_path: Path) -> None:
        """A section that is merely empty keeps its defaults."""
        assert load(tmp_path, "router: null\n").router is None
        assert load(tmp_path, "router:\n").router is not None

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("serving: {prot: 1}\n", ":1: unknown key serving.prot; did you mean port?"),
            ("\nroutre: {}\n", ":2: unknown key routre; did you mean router?"),
            (
                "drafts:\n  topics:\n    sql: {modle: x}\n",
                ":3: unknown key drafts.topics.sql.modle; did you mean model?",
            ),
            ("traces: {capture: true}\n", ":1: unknown key traces.capture"),
            ("traces: {share: 0}\n", ":1: traces.share: input should be greater than 0 (it is 0)"),
            ("traces: {max_mb: 4}\n", ":1: traces: max_mb is 4: not even a file of segment_mb 8 would stay"),
            ("traces: {top: 257}\n", ":1: traces.top: input should be less than or equal to 256 (it is 257)"),
            ("serving:\n  port: 80\n", ":2: serving.port: input should be greater than or equal to 1024 (it is 80)"),
            ("target: hello\n", ":1: target: input should be a valid dictionary"),
            ("decoding: {num_draft_tokens: 13}\n", ":1: decoding.num_draft_tokens: input should be less than"),
            ("decoding: {tree: [8, 8]}\n", ":1: decoding: the tree [8, 8] has 72 nodes; at most 64 are verified"),
            ("decoding: {tree: [2, 0]}\n", ":1: decoding: a tree is a list of children a node by depth"),
            ("decoding: {tree: [2, 2], draws: paths}\n", ":1: decoding: paths do not branch: write [2, 1, 1, ...]"),
            ("decoding: {draws: paths}\n", ":1: decoding: draws: paths is about trees: set tree, too"),
            ("decoding: {tree: [2], num_draft_tokens: 4}\n", ":1: decoding: the tree sets the length"),
            ("decoding: {tree: [1,1,1,1,1,1,1,1,1,1,1,1,1]}\n", ":1: decoding: the tree is 13 deep; at most 12"),
            ("drafts: {topics: {sql: {}}}\n", ":1: drafts.topics.sql.model is missing"),
            ("a: [\n", ": not YAML: "),
            ("- 1\n", ": a deployment is a mapping of sections, this is a list"),
            ("name: a\nname: b\n", ":2: name is written twice"),
            ("serving: {host: 0.0.0.0}\n", "host 0.0.0.0 is open to the network: set api_keys_file"),
            ("name: 'a b'\n", ":1: name: string should match pattern"),
        ],
    )
    def test_a_mistake_is_pointed_at(self, tmp_path: Path, text: str, message: str) -> None:
        """File, line, key, and what was probably meant."""
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, text)
        assert message in str(raised.value)
        assert str(tmp_path / "deployment.yaml") in str(raised.value)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        """No traceback."""
        with pytest.raises(ConfigError, match=r"cannot read .*nope\.yaml"):
            load_deployment(tmp_path / "nope.yaml")

    def test_the_printed_deployment_loads_as_the_same(self, tmp_path: Path) -> None:
        """What is in force can be saved and served again."""
        deployment = load_deployment(CONFIGS / "qwen3-8b.yaml")
        assert load(tmp_path, deployment.to_yaml()) == deployment
