"""The console script `eigenhouse`, and what make calls as `python -m eigenhouse`: one command a verb."""

from __future__ import annotations

import os
import sys

from eigenhouse import stopping

if __name__ == "__main__" or os.path.basename(sys.argv[0]).startswith("eigenhouse"):  # no test, nor another program
    stopping.watch()  # before the imports that take time

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from importlib import import_module
from typing import Annotated, Any, get_type_hints

import typer

from eigenhouse import __doc__ as about
from eigenhouse import __version__, process
from eigenhouse.options import VERBS, Verb, variable
from eigenhouse.variables import OURS

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(f"eigenhouse {__version__}")
        raise typer.Exit


VERSION = typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")


@app.callback(help=about)
def _before_any_verb(version: Annotated[bool, VERSION] = False) -> None: ...


def _command(verb: Verb) -> Callable[..., None]:
    """A function whose parameters are the verb's options, as typer reads them; its work is imported when it runs."""

    def run(**values: Any) -> None:
        module, _, name = verb.work.partition(":")
        stopping.kept(verb.kept)
        given = {option: value for option, value in values.items() if value != ""}  # `--name ""` is as none at all
        getattr(import_module(module), name)(verb.options(**given))

    kinds = get_type_hints(verb.options)
    parameters = [_parameter(option, kinds[option.name]) for option in fields(verb.options)]
    run.__doc__ = verb.options.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _parameter(option: Field[Any], kind: Any) -> inspect.Parameter:
    flag = f"--{variable(option.name).lower().replace('_', '-')}"
    text, limits = option.metadata["help"], option.metadata["limits"]
    parameter = typer.Option(flag, envvar=OURS + variable(option.name), help=text, show_envvar=False, **limits)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(option.name, keyword, default=option.default, annotation=Annotated[kind, parameter])


for _name, _verb in VERBS.items():
    app.command(_name, cls=process.Command)(_command(_verb))


def main() -> None:
    process.run(app)


if __name__ == "__main__":
    main()
