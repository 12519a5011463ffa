"""`ratchet smoke`: one suite asked of one checkpoint, or of any target, now and by hand. Nothing is stored."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from ratchet.adapters.assertions.grade import grade
from ratchet.application.ask import priced, prompts, result
from ratchet.application.state import find_all, load_alias, load_keyed
from ratchet.domain.confidence import wilson
from ratchet.domain.keys import AliasKey, CheckpointKey, Provider
from ratchet.domain.records import CaseOutcome, CaseResult, Checkpoint, Pointer, Summary
from ratchet.domain.smoke import Price, summarise
from ratchet.domain.suite import Case, Suite
from ratchet.ports import Answer, NoAnswer, PermanentError, ProviderPort, Providers, Store
from ratchet.runtime.settings import Settings, SettingsError
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import place, plain
from ratchet_cli.stores import checkpoint_key, opened, read_settings

_ROUNDS = 3
"""So often what was not answered is asked again."""
_LONGEST_WAIT = 30.0
_NOT_ASKED = "not asked, as nothing was answered"
_LEVEL = 0.9
_JUNIT = {CaseOutcome.FAIL: "failure", CaseOutcome.ERROR: "error", CaseOutcome.UNJUDGED: "skipped"}
_SECONDS = 3600.0

Progress = Callable[[int], AbstractContextManager[Callable[[int], object]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to test, as typed: a recorded checkpoint, or a target; and of which suites."""

    checkpoint: str | None = None
    target: str | None = None
    suites: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Target:
    """`serving` is what an alias serves that this checkpoint is a candidate for."""

    name: str
    port: ProviderPort
    label: str
    price: Price | None
    serving: tuple[AliasKey, Pointer, Checkpoint] | None = None


@dataclass(frozen=True, slots=True)
class Tested:
    """A suite's run. `before`: what failed when the same suite ran on what serves; None: it never did."""

    suite: Suite
    label: str
    results: Sequence[CaseResult]
    silent: Mapping[str, str]
    summary: Summary | None
    compared: str
    before: frozenset[str] | None

    @property
    def clean(self) -> bool:
        return not self.silent and self.summary is not None and not self.summary.failed


def run(config: Path, context: str | None, asked: Asked, progress: Progress | None = None) -> list[Tested]:
    """Raises: Problem."""
    key = checkpoint_key(asked.checkpoint) if asked.checkpoint else None
    settings = read_settings(config)
    chosen = _chosen(_suites(settings), asked.suites)
    progress = progress or (lambda _: nullcontext(lambda _: None))
    with opened(settings, context) if key else nullcontext() as store:
        target = _recorded(settings, store, key) if store and key else _named(settings, asked.target or "")
        return [_tested(suite, target, store, progress) for suite in chosen]


def _suites(settings: Settings) -> Mapping[str, Suite]:
    from ratchet.adapters.rule_files import RuleErrors, load_suites

    try:
        return load_suites(settings.suites_dir)
    except RuleErrors as exc:
        raise Problem(f"{exc}\nmend them first: ratchet check") from exc


def _chosen(suites: Mapping[str, Suite], names: Sequence[str]) -> list[Suite]:
    known = ", ".join(sorted(suites))
    if not names and len(suites) != 1:
        raise Problem(f"which suite? name it with --suite: {known or 'there is none'}", USAGE)
    missing = [name for name in names if name not in suites]
    if missing:
        raise Problem(f"no suite is named {missing[0]}; there: {known or 'none'}", USAGE)
    return [suites[name] for name in names or suites]


def _recorded(settings: Settings, store: Store, key: CheckpointKey) -> _Target:
    found = load_keyed(store, Checkpoint, key)
    if found is None:
        raise Problem(f"no checkpoint {key} is recorded; `ratchet status` shows the jobs that are known")
    checkpoint = found.value
    if checkpoint.target is None:
        raise Problem(f"{key} has no endpoint yet; `ratchet why {key}` says what it waits for")
    try:
        port = _providers(settings).of(key.job)
    except SettingsError as exc:
        raise Problem(str(exc)) from exc
    price = settings.prices.get(checkpoint.base_model)
    return _Target(
        name=checkpoint.target,
        port=port,
        label=f"{place(key, checkpoint.step)} ({checkpoint.target})",
        price=price.price() if price else None,
        serving=_serving(store, checkpoint),
    )


def _serving(store: Store, checkpoint: Checkpoint) -> tuple[AliasKey, Pointer, Checkpoint] | None:
    """The first alias that this checkpoint may be promoted to, with what it serves now."""
    for name in sorted({*map(str, checkpoint.open_aliases), *checkpoint.decided}):
        alias = load_alias(store, AliasKey.parse(name)).value
        current = alias.current
        other = load_keyed(store, Checkpoint, current.checkpoint) if current else None
        if current is not None and other is not None and current.checkpoint != checkpoint.key:
            return alias.key, current, other.value
    return None


def _named(settings: Settings, target: str) -> _Target:
    """A target says by its form whose it is."""
    wanted = Provider.VERTEX if target.startswith("projects/") else Provider.OPENAI
    parts = target.split("/")
    try:
        for account, port in _providers(settings).all():
            of_vertex = len(parts) > 3 and (account.account, account.location) == (parts[1], parts[3])
            if account.provider is wanted and (wanted is Provider.OPENAI or of_vertex):
                return _Target(target, port, target, None)
    except SettingsError as exc:
        raise Problem(str(exc)) from exc
    raise Problem(f"{target}: no account under `providers` has it; write projects/NUMBER/locations/… or a model", USAGE)


def _providers(settings: Settings) -> Providers:
    from ratchet.runtime.connect import ConfiguredProviders

    return ConfiguredProviders(settings)


def _tested(suite: Suite, target: _Target, store: Store | None, progress: Progress) -> Tested:
    results, silent = _answers(suite, target, progress)
    summary = summarise(results, suite, target.price) if any(_judged(each) for each in results) else None
    before, compared = _before(suite, target, store)
    return Tested(suite, target.label, results, silent, summary, compared, before)


def _judged(each: CaseResult) -> bool:
    return each.outcome is not CaseOutcome.UNJUDGED


def _answers(suite: Suite, target: _Target, progress: Progress) -> tuple[list[CaseResult], dict[str, str]]:
    """Each case's results, and why others have none."""
    results: list[CaseResult] = []
    todo = suite.calls()
    why: dict[str, str] = {}
    with progress(len(todo)) as step:
        for number in range(1, _ROUNDS + 1):
            left, silent, pause = dict(enumerate(todo)), [], 1.0
            for together in _asked(target, suite, todo, answers=bool(results)):
                for reply in together:
                    case, repeat = left.pop(reply.index)
                    if isinstance(reply, NoAnswer):
                        why[case.id] = str(reply.why)
                        silent.append((case, repeat))
                        pause = max(pause, reply.retry_after or 0.0)
                        continue
                    answer = priced(reply, target.price)
                    results.append(result("by hand", 0, case, repeat, answer, grade(case, answer)))
                    step(1)
            # What was not asked comes first, or a question that is never answered would keep all others waiting.
            todo = [*left.values(), *silent]
            if not todo:
                break
            if number < _ROUNDS:
                time.sleep(min(pause, _LONGEST_WAIT))
    return results, {case.id: why.get(case.id, _NOT_ASKED) for case, _ in todo}


def _asked(
    target: _Target, suite: Suite, calls: Sequence[tuple[Case, int]], *, answers: bool
) -> Iterator[Sequence[Answer | NoAnswer]]:
    try:
        asked = prompts(suite, calls)
        yield from target.port.generate(target.name, asked, suite.concurrency, _SECONDS, answers=answers)
    except PermanentError as exc:
        raise Problem(f"{target.name} cannot be asked ({exc.code}); `ratchet doctor` tries the account") from exc


def _before(suite: Suite, target: _Target, store: Store | None) -> tuple[frozenset[str] | None, str]:
    """What failed of the same suite on what serves, from the run that is stored."""
    if store is None or target.serving is None:
        return None, ""
    alias, pointer, other = target.serving
    what = f"{place(pointer.checkpoint, pointer.step)}, which {alias} serves"
    key = other.runs.get(suite.digest)
    stored = [each.value for each in find_all(store, CaseResult, run=key)] if key else []
    if not stored:
        return None, f"{what}, was never tested with this suite as it is now"
    return frozenset(summarise(stored, suite).failed), what


def render(tested: Tested) -> str:
    """For people: the figures, each case that failed and why, and what has changed against what serves."""
    suite, summary = tested.suite, tested.summary
    lines = [f"{suite.name} on {plain(tested.label)}"]
    if summary is not None:
        cost = "" if summary.usd is None else f"   {summary.usd:.4f} USD"
        sure = wilson(summary.cases_passed, summary.cases, _LEVEL)
        bare = f"   {summary.unjudged} more without a verdict" if summary.unjudged else ""
        always = "" if summary.repeats < 2 else f"   {summary.always_passed}/{summary.cases} in all repeats"
        lines += [
            f"  {summary.cases_passed}/{summary.cases} cases pass{bare}   score {summary.score:.3f}"
            f"   p50 {summary.latency_p50_ms} ms   p95 {summary.latency_p95_ms} ms"
            f"   {summary.tokens_in + summary.tokens_out} tokens{cost}",
            f"  pass rate {sure.low:.3f} to {sure.high:.3f} ({_LEVEL:.0%} Wilson){always}   answers: "
            + ", ".join(f"{count} {kind}" for kind, count in summary.answers.items()),
        ]
        for case in summary.failed:
            lines.append(f"  {'FLAKY' if case in summary.flaky else 'FAIL '}  {_reason(tested, case)}")
    asked = {case: why for case, why in tested.silent.items() if why != _NOT_ASKED}
    lines += [f"  SILENT {case}: {why}" for case, why in sorted(asked.items())]
    if len(asked) < len(tested.silent):
        lines.append(f"  SILENT {len(tested.silent) - len(asked)} more: {_NOT_ASKED}")
    if tested.before is not None and summary is not None:
        worse, better = sorted({*summary.failed} - tested.before), sorted(tested.before - {*summary.failed})
        lines.append(f"  against {tested.compared}:")
        lines.append(f"    regressions: {', '.join(worse) or 'none'}")
        lines.append(f"    improvements: {', '.join(better) or 'none'}")
    elif tested.compared:
        lines.append(f"  {tested.compared}")
    return "\n".join(lines)


def _reason(tested: Tested, case: str) -> str:
    return next(each.reason for each in tested.results if each.case == case and each.reason)


def document(tested: Sequence[Tested]) -> str:
    """As JSON: no text of a model is in it, as nothing of one is kept."""
    return json.dumps(
        [
            {
                "suite": each.suite.name,
                "suite_digest": each.suite.digest,
                "target": each.label,
                "clean": each.clean,
                "summary": asdict(each.summary) if each.summary else None,
                "silent": dict(each.silent),
                "cases": [
                    {
                        "case": found.case, "repeat": found.repeat, "outcome": found.outcome, "reason": found.reason,
                        "score": found.score, "metrics": dict(found.metrics), "latency_ms": found.latency_ms,
                    }
                    for found in each.results
                ],
            }
            for each in tested
        ],
        indent=2,
    )  # fmt: skip


def junit(tested: Sequence[Tested]) -> str:
    """As CI systems read it: a test case for each repeat of each case."""
    root = ElementTree.Element("testsuites")
    for each in tested:
        failed = sum(found.outcome is CaseOutcome.FAIL for found in each.results)
        errors = sum(found.outcome is CaseOutcome.ERROR for found in each.results) + len(each.silent)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=each.suite.name,
            tests=str(len(each.results) + len(each.silent)),
            failures=str(failed),
            errors=str(errors),
            skipped=str(sum(not _judged(found) for found in each.results)),
        )
        for found in each.results:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=each.suite.name,
                name=f"{found.case} #{found.repeat + 1}",
                time=f"{found.latency_ms / 1000:.3f}",
            )
            if found.outcome is not CaseOutcome.PASS:
                ElementTree.SubElement(case, _JUNIT[found.outcome], message=found.reason or "nothing judges it")
        for name, why in sorted(each.silent.items()):
            case = ElementTree.SubElement(suite, "testcase", classname=each.suite.name, name=name)
            ElementTree.SubElement(case, "error", message=f"not answered: {why}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
