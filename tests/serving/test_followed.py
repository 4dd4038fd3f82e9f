"""Which drafts a deployment serves."""

from serving.config import Deployment
from serving.deployment import Resolver
from serving.followed import drafts_now
from tests.serving.toy_folder import toy_drafts, write_toys


def deployment(folder, follow):
    drafts = {**toy_drafts(folder), "follow": follow}
    return Deployment.model_validate({"name": "toy", "target": {"model": str(folder / "target")}, "drafts": drafts})


class TestDraftsNow:
    def test_topics_of_the_registry_are_among_them_where_they_are_followed(self, tmp_path, monkeypatch):
        """Beside those that the deployment names, the general one first."""
        folder = write_toys(tmp_path)
        monkeypatch.setattr(Resolver, "further_topics", lambda _: {"law": str(folder / "math")})
        named = drafts_now(deployment(folder, follow=False))
        assert list(named) == ["general", "sql", "math"]
        assert named["sql"].folder == (folder / "sql").resolve()
        followed = drafts_now(deployment(folder, follow=True))
        assert {**followed, "law": None} == {**named, "law": None}
        assert followed["law"].folder == (folder / "math").resolve()
