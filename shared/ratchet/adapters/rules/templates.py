"""promptfoo's templates, as far as they name variables: rendered in Jinja's sandbox, with JavaScript's texts."""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

from ratchet.adapters.assertions.javascript import text_of
from ratchet.adapters.yaml_files import shown


class BadTemplate(ValueError):
    """It does not parse, names what is not there, or does more than to name. `mend` says what to do."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.mend = mend


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Raises: BadTemplate."""
    if "{" not in template:
        return template
    try:
        return _compiled(template).render(variables)
    except jinja2.UndefinedError as exc:
        raise BadTemplate(f"an undefined variable: {shown(exc.message)}", "add it to vars") from exc
    except jinja2.TemplateSyntaxError as exc:
        raise BadTemplate("the template does not parse", "mend it, or close the braces") from exc
    except (_Unsupported, jinja2.TemplateError, RecursionError) as exc:
        mend = "use {{name}} or {{name.part}} only"
        raise BadTemplate(f"the template is not supported yet: {shown(exc)}", mend) from exc


class _Unsupported(Exception):
    """A template does more than to name variables."""


_PLAIN = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const)


def _only_variables(template: str) -> None:
    # Filters and statements differ between nunjucks and Jinja, and a statement may run for ever.
    for node in _environment().parse(template).find_all(nodes.Node):
        if not isinstance(node, _PLAIN):
            raise _Unsupported(type(node).__name__.lower())


@lru_cache(maxsize=256)
def _compiled(template: str) -> jinja2.Template:
    """Once for all the cases that share a prompt: compiling is most of the time of loading a suite."""
    _only_variables(template)
    return _environment().from_string(template)


@cache
def _environment() -> SandboxedEnvironment:
    # The output is a prompt, not HTML, and promptfoo does not escape either.
    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        finalize=_finalized,
    )
    # Nunjucks has none of Jinja's globals: `{{range}}` is an undefined variable.
    environment.globals.clear()
    return environment


def _finalized(value: Any) -> Any:
    if isinstance(value, dict | list):
        raise _Unsupported("a mapping or a list in a text")
    if value is None:
        return ""
    return text_of(value) if isinstance(value, bool | int | float) else value
