"""Versions of drafts and routers in MLflow: register, find, point aliases.

Weights are safetensors, everything else JSON: nothing that is registered or resolved runs code.
Every version has lineage to the MLflow run that made it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from configs.errors import RegistryError
from registry import aliases, leftovers
from registry.connection import answering, check_there, connect, make_current
from registry.content import content_digest
from registry.experiments import experiment_id
from registry.fetch import Folders
from registry.location import Location, locate
from registry.locks import exclusive
from registry.lookup import model_summaries, registered_models, version_entity, version_from
from registry.names import CHAMPION, Reference
from registry.ownership import REGISTRATION
from registry.records import RunRecord, run_record
from registry.runs import Run
from registry.section import RegistrySection
from registry.version import ModelSummary, Version

_DIGEST = 64  # letters of a fingerprint


class Registry:
    """One registry, opened. Make it with `Registry.open`."""

    def __init__(self, location: Location, client: Any):
        self.location = location
        self.client = client
        self.folders = Folders(client, location)

    @classmethod
    def open(cls, section: RegistrySection) -> Self:
        """Connect, making the local registry if it is not there.

        Raises:
            RegistryError: no registry answers at ``section.uri``.
        """
        location = locate(section)
        return cls(location, connect(location))

    def start_run(
        self, experiment: str, name: str, tags: Mapping[str, str] | None = None, description: str = ""
    ) -> Run:
        """Begin an MLflow run; use it as a context manager, so that it ends as finished or failed."""
        check_there(self.location)
        with answering(self.location):
            experiment_key = experiment_id(self.client, experiment, self.location.artifact_root)
            return Run.start(self.client, self.location, experiment_key, name, dict(tags or {}), description)

    def resume_run(self, run_id: str) -> Run:
        """Go on with the run of a job that was killed: later figures join the curves of before.

        Files that the killed job had stored and not yet registered are removed.

        Raises:
            RegistryError: there is no such run, or another process is writing it.
        """
        check_there(self.location)
        with answering(self.location):
            run = Run.resume(self.client, self.location, run_id)
            leftovers.free_unregistered(self.client, self.location, run.experiment, run_id)
            return run

    def register(
        self,
        model: str,
        folder: Path,
        tags: Mapping[str, str],
        metrics: Mapping[str, float] | None = None,
        alias: str | None = None,
        *,
        run_name: str = "",
        experiment: str = "",
        description: str = "",
        parent_version: int | None = None,
        run: Run | None = None,
    ) -> Version:
        """Copy ``folder`` into the registry as the next version of ``model`` and return it.

        Args:
            tags: facts of the version; ``content``, a digest of the files, is added.
            metrics: final figures, logged to the run.
            alias: moved to the new version, whatever it pointed to.
            run: the run that made the version; without one, a run ``run_name`` is made in ``experiment``.

        Raises:
            RegistryError: the folder holds no files or pickles, or the registry failed.
        """
        facts = dict(tags)
        if parent_version is not None:
            facts["parent_version"] = str(parent_version)
        facts["content"] = content_digest(folder)
        # MLflow shows tags in this order, and a long digest hides what comes after it.
        facts = dict(sorted(facts.items(), key=lambda fact: len(fact[1]) >= _DIGEST))
        leftovers.collect(self.client, self.location)
        if run is None:
            own_tags = {**facts, REGISTRATION: "yes"}
            with self.start_run(experiment or model, run_name or model, own_tags, description) as own:
                return self._register(own, model, folder, facts, metrics, alias, description)
        return self._register(run, model, folder, facts, metrics, alias, description)

    def _register(
        self,
        run: Run,
        model: str,
        folder: Path,
        tags: dict[str, str],
        metrics: Mapping[str, float] | None,
        alias: str | None,
        description: str,
    ) -> Version:
        if metrics:
            run.log(metrics)
        model_id = run.keep_model(model, folder, tags)
        with answering(self.location):
            make_current(self.location)
            _ensure_model(self.client, model)
            entity = self.client.create_model_version(
                model,
                f"models:/{model_id}",
                run_id=run.run_id,
                tags=tags,
                description=description or None,
                model_id=model_id,
            )
        number = int(entity.version)
        if alias is not None:
            with exclusive(aliases.lock_file(self.location, model)), answering(self.location):
                aliases.point(self.client, model, alias, number)
        return self.get(Reference(model, None, number))

    def resolve(self, reference: str) -> Version:
        """The version that ``registry://NAME@ALIAS_OR_vN`` means now, with its files on this machine.

        Files of the local registry are used where they are; those of a server are downloaded once.

        Raises:
            RegistryError: no registry, no such model, alias or version; the nearest known one is named.
        """
        return self.get(Reference.parse(reference))

    def get(self, reference: Reference) -> Version:
        """As `resolve`, for a reference that is already parsed."""
        check_there(self.location)
        with answering(self.location):
            entity = version_entity(self.client, reference)
            return version_from(entity, self.folders.present(entity))

    def list_models(self, prefix: str = "") -> list[ModelSummary]:
        """All models whose name begins with ``prefix``, by name, with all their versions."""
        check_there(self.location)
        with answering(self.location):
            return model_summaries(self.client, self.folders, prefix)

    def model_tags(self, prefix: str = "") -> dict[str, dict[str, str]]:
        """Tags of all models whose name begins with ``prefix``, without looking at versions."""
        with answering(self.location):
            return {model.name: dict(model.tags) for model in registered_models(self.client, prefix)}

    def aliased(self, alias: str, prefix: str = "") -> list[str]:
        """Names of all models that begin with ``prefix`` and have ``alias``, without looking at versions."""
        with answering(self.location):
            return [str(model.name) for model in registered_models(self.client, prefix) if alias in model.aliases]

    def set_alias(self, model: str, alias: str, version: int, expected_current: int | None) -> Version:
        """Point ``alias`` to ``version`` if it still points to ``expected_current`` (None: to nothing).

        A champion remembers the one before it, for `rollback`.

        Raises:
            AliasMoved: somebody else moved it meanwhile.
            RegistryError: there is no such version.
        """
        target = self.get(Reference(model, None, version))
        with exclusive(aliases.lock_file(self.location, model)), answering(self.location):
            aliases.expect(self.client, model, alias, expected_current)
            aliases.point(self.client, model, alias, version)
        return self.get(Reference(model, None, target.version))

    def rollback(self, model: str) -> Version:
        """Point ``champion`` back to the version that it pointed to before.

        Raises:
            RegistryError: there is no champion, or none before it.
        """
        champion = self.get(Reference(model, CHAMPION, None))
        previous = champion.tags.get(aliases.PREVIOUS)
        if previous is None:
            raise RegistryError(f"{champion.label} is the first champion of {model}: there is nothing to go back to")
        self.get(Reference(model, None, int(previous)))  # there, with its files
        with exclusive(aliases.lock_file(self.location, model)), answering(self.location):
            aliases.move_back(self.client, model, champion.version, int(previous))
        return self.get(Reference(model, None, int(previous)))

    def drop_alias(self, model: str, alias: str, version: int) -> None:
        """Remove ``alias`` if it points to ``version``."""
        with exclusive(aliases.lock_file(self.location, model)), answering(self.location):
            aliases.drop(self.client, model, alias, version)

    def run_of(self, version: Version) -> RunRecord | None:
        """What MLflow keeps of the run that made ``version``; None where it is gone."""
        return None if version.run_id is None else self.run_record(version.run_id)

    def run_record(self, run_id: str) -> RunRecord | None:
        """What MLflow keeps of a run; None where it is gone."""
        with answering(self.location):
            return run_record(self.client, run_id)

    def set_run_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a run that has ended; nothing happens if it is gone."""
        if self.run_record(run_id) is not None:
            with answering(self.location):
                for key, value in tags.items():
                    self.client.set_tag(run_id, key, value)

    def set_model_facts(self, model: str, tags: Mapping[str, str], description: str = "") -> None:
        """Add or replace tags and description of a model as a whole."""
        with answering(self.location):
            for key, value in tags.items():
                self.client.set_registered_model_tag(model, key, value)
            if description:
                self.client.update_registered_model(model, description)

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Add or replace tags of a version, such as a verdict."""
        with answering(self.location):
            for key, value in tags.items():
                self.client.set_model_version_tag(version.model, str(version.version), key, value)


def _ensure_model(client: Any, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
