"""What a command says instead of a traceback: one line with what is wrong and how to mend it."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

OK, FINDINGS, USAGE = 0, 1, 2


class Problem(Exception):
    """It cannot be done. `code` is `FINDINGS` for a refusal or an outage, `USAGE` for a wrong call or setting."""

    def __init__(self, text: str, code: int = FINDINGS) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def told() -> Iterator[None]:
    """Turn what may go wrong for a user into one line and an exit status; a bug still raises."""
    try:
        yield
    except Problem as exc:
        typer.secho(str(exc), err=True, fg=typer.colors.RED)
        raise typer.Exit(exc.code) from exc
    except KeyboardInterrupt as exc:
        raise typer.Exit(130) from exc
