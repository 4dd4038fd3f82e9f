"""Nothing that could run code is ever read from a file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("benchmarks", "commands", "configs", "decoding", "drafts", "registry", "router", "serving", "training")
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "skops"}
CALLS = {"torch.load", "torch.jit.load", "pandas.read_pickle", "eval", "exec", "yaml.load", "yaml.unsafe_load"}


def sources() -> list[Path]:
    found = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if ".envs" not in path.parts]
    return [ROOT / "polydraft.py", *found]


def misdeeds(tree: ast.AST) -> list[str]:
    """Imports of a pickling module, calls that unpickle or run text, and arguments that ask a library to."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").partition(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            found += [name] if (name := ast.unparse(node.func)) in CALLS else []
            for word in node.keywords:
                is_true = not (isinstance(word.value, ast.Constant) and word.value.value is False)
                if word.arg in ("allow_pickle", "trust_remote_code") and is_true:
                    found.append(word.arg)
    return found


def test_no_source_unpickles_or_trusts_code_from_a_model():
    assert len(sources()) > 200
    found = {str(path.relative_to(ROOT)): misdeeds(ast.parse(path.read_text())) for path in sources()}
    assert {path: deeds for path, deeds in found.items() if deeds} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=flag)",
        "yaml.load(text)",
        "exec(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str):
    assert misdeeds(ast.parse(text))


def test_arrays_and_yaml_that_are_data_are_not_found():
    assert not misdeeds(ast.parse("np.load(path, allow_pickle=False); yaml.safe_load(text); model.eval()"))
