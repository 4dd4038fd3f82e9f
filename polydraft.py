"""The command line: one Typer app; every heavy import inside its command."""

import typer

app = typer.Typer(no_args_is_help=True)


def main() -> None:
    """Entry point of the ``polydraft`` command."""
    app()
