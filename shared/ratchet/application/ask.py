"""Ask a suite's cases of a target: what is answered is judged, and stored as it comes."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from ratchet.application.state import create, find_all, key_of
from ratchet.domain.grading import Grade
from ratchet.domain.records import AnswerClass, CaseOutcome, CaseResult, Completion, SmokeRun
from ratchet.domain.redaction import redacted
from ratchet.domain.smoke import Price, Spending
from ratchet.domain.suite import Case, Keep, Suite
from ratchet.ports import (
    Answer,
    Clock,
    Commit,
    Denied,
    Finish,
    Ids,
    NoAnswer,
    NotFound,
    Prompt,
    ProviderError,
    ProviderPort,
    Silence,
    Store,
    Throttled,
)

Judge = Callable[[Case, Answer], Grade]

_RESULTS_PER_BATCH = 10
"""As a batch of the store holds, each with what was said."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked of whom, by what it is judged, and where the results go. No call starts after `slice` seconds."""

    store: Store
    clock: Clock
    ids: Ids
    port: ProviderPort
    target: str
    suite: Suite
    price: Price | None
    judge: Judge
    slice: float


@dataclass(frozen=True, slots=True)
class Round:
    """What one pass over the open cases brought. `spent`: which part of the budget is, in words."""

    silences: Sequence[NoAnswer]
    billed: int
    spent: str


def ask(
    asking: Asking,
    run: SmokeRun,
    calls: Sequence[tuple[Case, int]],
    done: Iterable[CaseResult],
    asked_at: datetime,
) -> Round:
    """Make these calls, until the slice or the budget is spent; every answer is stored as it comes. `done` are the
    results that there are, `asked_at` is when the first case of the run was asked.
    """
    suite, price, clock = asking.suite, asking.price, asking.clock
    spending = Spending(suite.budget, price, asked_at)
    for earlier in done:
        spending.add(earlier)
    silences: list[NoAnswer] = []
    billed = 0
    spent = spending.spent(clock.now())
    if spent:
        return Round((), 0, spent)
    asked = prompts(suite, calls)
    with closing(
        asking.port.generate(asking.target, asked, suite.concurrency, asking.slice, answers=run.probed)
    ) as answers:
        for together in answers:
            results: list[CaseResult] = []
            said: list[Completion] = []
            for reply in together:
                case, repeat = calls[reply.index]
                if isinstance(reply, NoAnswer):
                    silences.append(reply)
                    # A refusal costs nothing, yet asking the same again for ever would be no better.
                    billed += reply.maybe_billed or reply.why is Silence.REFUSED
                    continue
                billed += 1
                answer = priced(reply, price)
                grade = asking.judge(case, answer)
                found = result(run.key, run.lease.fence, case, repeat, answer, grade)
                spending.add(found)
                results.append(found)
                if suite.keep is not None and answer.text and grade.outcome is CaseOutcome.FAIL:
                    said.append(_said(found, answer, suite.keep, clock.now()))
            _store(asking, results, said)
            spent = spending.spent(clock.now())
            if spent:
                break
    return Round(silences, billed, spent)


def prompts(suite: Suite, calls: Sequence[tuple[Case, int]]) -> list[Prompt]:
    asked = suite.request
    timeout = math.inf if asked.timeout is None else asked.timeout.total_seconds()
    return [
        Prompt(
            case.prompt,
            system=asked.system,
            temperature=asked.temperature,
            max_tokens=asked.max_tokens,
            seed=asked.seed,
            timeout=timeout,
            tools=asked.tools,
            must_call=asked.must_call,
            logprobs=asked.logprobs,
        )
        for case, _ in calls
    ]


def priced(answer: Answer, price: Price | None) -> Answer:
    return answer if price is None else replace(answer, usd=price.usd(answer.tokens_in, answer.tokens_out))


def result(run: str, fence: int, case: Case, repeat: int, answer: Answer, grade: Grade) -> CaseResult:
    return CaseResult(
        run=run,
        case=case.id,
        repeat=repeat,
        fence=fence,
        outcome=grade.outcome,
        reason=grade.reason,
        answer_sha256=answer.sha256,
        latency_ms=answer.latency_ms,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        score=grade.score,
        metrics=grade.metrics,
        answer=_class_of(answer, grade),
    )


def _class_of(answer: Answer, grade: Grade) -> AnswerClass:
    if answer.finish in (Finish.EMPTY, Finish.BLOCKED):
        return AnswerClass(answer.finish)
    if grade.outcome in (CaseOutcome.PASS, CaseOutcome.UNJUDGED):
        return AnswerClass.OK
    if grade.outcome is CaseOutcome.ERROR:
        return AnswerClass.ERROR
    return AnswerClass.REFUSED if answer.finish is Finish.REFUSED else AnswerClass.WRONG


def _said(found: CaseResult, answer: Answer, keep: Keep, now: datetime) -> Completion:
    text = redacted(answer.text, keep.redact)
    return Completion(run=found.run, case=found.case, repeat=found.repeat, text=text, expires_at=now + keep.ttl)


def _store(asking: Asking, results: Sequence[CaseResult], said: Sequence[Completion]) -> None:
    """Create each once. A batch in which one exists fails whole: drop the existing, send the rest."""
    texts = {(each.case, each.repeat): create(each) for each in said}
    for start in range(0, len(results), _RESULTS_PER_BATCH):
        batch = list(results[start : start + _RESULTS_PER_BATCH])
        while batch:
            writes = [write for each in batch for write in (create(each), texts.get((each.case, each.repeat))) if write]
            if asking.store.commit(writes, asking.ids.fresh()) is Commit.COMMITTED:
                break
            batch = [each for each in batch if asking.store.get(key_of(each)) is None]


def results_of(store: Store, run: SmokeRun) -> Mapping[tuple[str, int], CaseResult]:
    """What is answered of the run, by whomever: by case and repeat."""
    found = find_all(store, CaseResult, run=run.key)
    return {(result.value.case, result.value.repeat): result.value for result in found}


def hardest(silences: Sequence[NoAnswer]) -> ProviderError:
    """The reason to wait the longest for. At least one silence."""
    if any(silence.why is Silence.DENIED for silence in silences):
        return Denied()
    throttled = [silence for silence in silences if silence.why is Silence.THROTTLED]
    if throttled:
        return Throttled(max((silence.retry_after or 0 for silence in throttled), default=0))
    return NotFound() if all(silence.why is Silence.NOT_FOUND for silence in silences) else ProviderError()
