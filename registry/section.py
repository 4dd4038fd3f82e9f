"""The ``registry`` section of a deployment configuration."""

from typing import Annotated

from pydantic import Field

from configs.section import Section


class RegistrySection(Section):
    """Where versions live and how soon a moved alias is noticed."""

    uri: str = Field(
        default="local",
        min_length=1,
        description="local: SQLite and a folder in the data directory; else an MLflow server (http://mlflow:5000) "
        "or a database that MLflow knows (sqlite:////srv/mlflow.db, postgresql://...)",
    )
    artifacts: str = Field(
        default="auto",
        min_length=1,
        description="where files of versions go when uri is a database: a folder or an object store (s3://...); "
        "auto: a folder beside an SQLite file",
    )
    poll_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=10.0, description="how often moved aliases of drafts are looked for while serving; 0: never"
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        default=3.0, description="seconds that a registry server may take to say that it is there"
    )
