"""`polydraft registry`: draft versions."""

from typing import Annotated

import typer

from commands.options import AsJson, ConfigFile, Output
from configs.console import emit, hint, table

app = typer.Typer(no_args_is_help=True, help="Draft versions: list, show, open the MLflow pages.")


@app.command("list")
def registry_list(config: ConfigFile = None, as_json: AsJson = False, output: Output = None) -> None:
    """Every draft of the deployment: its champion, its figures, where it came from."""
    from registry.report import list_lines, list_rows
    from serving.config import deployment_of
    from serving.deployment import open_registry

    deployment = deployment_of(config)
    models = open_registry(deployment).list_models(deployment.name)
    if as_json or output:
        emit(list_rows(models), output)
    if not as_json:
        table(*list_lines(models))


@app.command("show")
def registry_show(
    draft: Annotated[str, typer.Argument(help="sql, sql@v3, sql@champion or router")],
    config: ConfigFile = None,
    output: Output = None,
) -> None:
    """Everything known about one version, as JSON."""
    from registry.report import find_version, show_document
    from serving.config import deployment_of
    from serving.deployment import open_registry

    deployment = deployment_of(config)
    emit(show_document(*find_version(open_registry(deployment), deployment.name, draft)), output)


@app.command("ui")
def registry_ui(
    config: ConfigFile = None, port: Annotated[int, typer.Option(help="Port of the pages.")] = 5000
) -> None:
    """Open the MLflow pages of the registry; stop with Ctrl-C."""
    import subprocess

    from registry.ui import links, ui_command, ui_environment
    from serving.config import deployment_of
    from serving.deployment import open_registry

    deployment = deployment_of(config)
    models = open_registry(deployment).list_models(deployment.name)
    command = ui_command(deployment.registry, port)
    hint("Starting MLflow, about ten seconds; stop it with Ctrl-C. Then open")
    for link in links(deployment.registry, models, port):
        hint(f"  {link.title:<12} {link.url}")
    raise typer.Exit(subprocess.run(command, env=ui_environment(), check=False).returncode)
