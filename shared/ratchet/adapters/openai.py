"""OpenAI: fine-tuning jobs and their checkpoints, in our words.

The SDK does not validate replies: a 200 may come out as an object full of None, or as a string. So every field is
looked at here before anybody believes it. OpenAI has no default checkpoint: the name that is called is the choice.
"""

import math
import re
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import openai

from ratchet.adapters import calls
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.records import JobState, Measure
from ratchet.domain.suite import Tool
from ratchet.ports import Answer, CheckpointView, Finish, JobView, NoAnswer, PermanentError, Prompt, Refused

_STATES: Mapping[str, JobState] = {
    "validating_files": JobState.PENDING,
    "queued": JobState.PENDING,
    "running": JobState.RUNNING,
    "succeeded": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}
_FULL = ("full_valid_loss", "full_valid_mean_token_accuracy")
_METRICS = ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy", *_FULL)
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,255}")


class OpenAIProvider:
    """One project's fine-tuning jobs; `account` is the project that the key belongs to."""

    def __init__(
        self,
        account: str,
        api_key: str,
        base_url: str | None = None,
        timeout: float = 20.0,
        shutdown_dates: Mapping[str, datetime] | None = None,
    ) -> None:
        self._account = account
        self._api_key = api_key
        self._base_url = base_url
        self._timeout = timeout
        self._shutdown_dates = shutdown_dates or {}

    @cached_property
    def _client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=0,
            http_client=calls.http_client(self._timeout),
        )

    def get_job(self, job: JobKey) -> JobView:
        self._check(job)
        return calls.run(self._get_job(job))

    async def _get_job(self, job: JobKey) -> JobView:
        view = self._job_view(await self._call(lambda: self._client.fine_tuning.jobs.retrieve(job.id)))
        if view.key != job:
            raise calls.unusable()
        return view

    def list_jobs(self, created_since: datetime) -> Sequence[JobView]:
        return calls.run(self._list_jobs(created_since))

    async def _list_jobs(self, created_since: datetime) -> Sequence[JobView]:
        async def fetch(after: str | None) -> tuple[Sequence[JobView], str | None]:
            items, token = await self._page(
                lambda: self._client.fine_tuning.jobs.list(limit=100, after=after or openai.omit)
            )
            views = [self._job_view(item) for item in items]
            oldest = views[-1].created_at if views else None
            # The list is newest first, so that nothing behind this page is younger.
            return views, None if oldest and oldest < created_since else token

        views = await calls.all_pages(fetch)
        known = {view.key: view for view in views if view.created_at is None or view.created_at >= created_since}
        return sorted(known.values(), key=lambda view: view.created_at or created_since, reverse=True)

    def _job_view(self, job: Any) -> JobView:
        key = calls.text(getattr(job, "id", None))
        if key is None:
            raise calls.unusable()
        try:
            own = JobKey(Provider.OPENAI, self._account, "-", key)
        except ValueError as exc:
            raise calls.unusable() from exc
        # A status outside the documented ones ("paused" is one) has not ended.
        state = _STATES.get(calls.text(job.status) or "", JobState.RUNNING)
        return JobView(
            key=own,
            base_model=calls.text(job.model) or "",
            # The SDK does not declare it; it keeps what else is on the wire.
            name=calls.name(getattr(job, "user_provided_suffix", None)) or "",
            state=state,
            labels=calls.words(job.metadata),
            datasets=calls.datasets(job.training_file, job.validation_file),
            created_at=_moment(job.created_at),
            ended_at=_moment(job.finished_at) if state.terminal else None,
            model=None,
        )

    def list_checkpoints(self, job: JobKey) -> Sequence[CheckpointView]:
        self._check(job)
        return calls.run(self._list_checkpoints(job))

    async def _list_checkpoints(self, job: JobKey) -> Sequence[CheckpointView]:
        async def fetch(after: str | None) -> tuple[Sequence[Any], str | None]:
            jobs = self._client.fine_tuning.jobs
            return await self._page(lambda: jobs.checkpoints.list(job.id, limit=100, after=after or openai.omit))

        views = {view.id: view for view in map(_checkpoint_view, await calls.all_pages(fetch))}
        ordered = sorted(views.values(), key=lambda view: (view.step is None, view.step or 0, view.id))
        if all(_FULL[0] in view.metrics for view in ordered):
            return ordered
        # `full_valid_*` may be on the event of the same step alone. It is a bonus: without it the rest still stands.
        try:
            events, _ = await self._page(lambda: self._client.fine_tuning.jobs.list_events(job.id, limit=100))
        except calls.Failed:
            return ordered
        told = _full_metrics(events)
        return [replace(view, metrics={**told.get(view.step, {}), **view.metrics}) for view in ordered]

    def probe(self, target: str) -> None:
        calls.run(self._ask(target, calls.PING, 0))

    def generate(
        self, target: str, prompts: Sequence[Prompt], concurrency: int, seconds: float, *, answers: bool = True
    ) -> Generator[Sequence[Answer | NoAnswer]]:
        return calls.fan_out(
            lambda index: self._ask(target, prompts[index], index), len(prompts), concurrency, seconds, answers=answers
        )

    async def _ask(self, target: str, prompt: Prompt, index: int) -> Answer:
        messages: list[Any] = [{"role": "system", "content": prompt.system}] if prompt.system else []
        messages.append({"role": "user", "content": prompt.text})
        body = {
            "model": target,
            "messages": messages,
            "temperature": prompt.temperature,
            "max_completion_tokens": prompt.max_tokens,
            **({} if prompt.seed is None else {"seed": prompt.seed}),
            **({"tools": list(map(_tool, prompt.tools))} if prompt.tools else {}),
            **({"tool_choice": "required"} if prompt.must_call else {}),
            **({"logprobs": True} if prompt.logprobs else {}),
        }
        began = time.monotonic()
        # `chat.completions.create` checks what we wrote and rebuilds what came, unvalidated: a third of a call's work.
        reply: Any = await self._call(
            lambda: self._client.post("/chat/completions", cast_to=object, body=body), prompt.timeout
        )
        try:
            choice, usage = reply["choices"][0], reply.get("usage") or {}
            message, finished = choice["message"], choice.get("finish_reason")
            said, refusal = calls.text(message.get("content")) or "", message.get("refusal")
            tools = message.get("tool_calls")
            called = isinstance(tools, list) and bool(tools)
            if called:
                said = calls.calling(said, tools)
            logprob = _mean(choice.get("logprobs"))
            tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
        except calls.NONSENSE as exc:
            raise calls.unusable() from exc
        if finished == "content_filter":
            ended = Finish.BLOCKED
        elif calls.text(refusal) is not None:
            said, ended = refusal, Finish.REFUSED
        else:
            ended = Finish.LENGTH if finished == "length" else Finish.STOP
        return calls.answer(
            index,
            said,
            ended,
            began=began,
            tokens_in=tokens[0],
            tokens_out=tokens[1],
            called=called and ended is not Finish.REFUSED,
            logprob=logprob,
        )

    def get_default(self, model: str) -> str | None:  # noqa: ARG002 (the port's signature)
        return None

    def set_default(self, model: str, checkpoint_id: str) -> None:  # noqa: ARG002
        raise Refused

    def shutdown_date(self, base_model: str) -> datetime | None:
        written = self._shutdown_dates.get(base_model)
        if written is not None:
            return written
        if not _MODEL.fullmatch(base_model):
            raise Refused
        return calls.run(self._shutdown_date(base_model))

    async def _shutdown_date(self, base_model: str) -> datetime | None:
        model: Any = await self._call(lambda: self._client.models.retrieve(base_model))
        if calls.text(getattr(model, "id", None)) is None:
            raise calls.unusable()
        try:
            return datetime.strptime(model.shutdown_date or "", "%Y-%m-%d").replace(tzinfo=UTC)
        except (ValueError, TypeError):
            return None

    def _check(self, job: JobKey) -> None:
        if (job.provider, job.account, job.location) != (Provider.OPENAI, self._account, "-"):
            raise PermanentError("not_ours")

    async def _page(self, call: Callable[[], Awaitable[Any]]) -> tuple[list[Any], str | None]:
        page = await self._call(call)
        items = getattr(page, "data", None)
        if not isinstance(items, list):
            raise calls.unusable()
        if not items or page.has_more is False:
            return items, None
        return items, calls.text(getattr(items[-1], "id", None))

    async def _call(self, call: Callable[[], Awaitable[Any]], timeout: float = math.inf) -> Any:
        try:
            return await calls.attempt(call, min(self._timeout, timeout))
        except openai.APIStatusError as exc:
            raise calls.status_failure(exc.status_code, exc.response.headers) from exc
        except openai.APIConnectionError as exc:
            raise calls.transport_failure(exc.__cause__) from exc
        except openai.OpenAIError as exc:
            raise calls.unusable() from exc


def _mean(logprobs: Any) -> float | None:
    """The mean log-probability of what `logprobs.content` lists; None where that is nothing, or no list of numbers."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    listed = tokens if isinstance(tokens, list) else []
    numbers = [calls.number(token.get("logprob") if isinstance(token, dict) else None) for token in listed]
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known and len(known) == len(listed) else None


def _tool(tool: Tool) -> Mapping[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    return {"type": "function", "function": {"name": tool.name, **described, "parameters": tool.parameters}}


def _checkpoint_view(item: Any) -> CheckpointView:
    key = calls.text(getattr(item, "id", None))
    if key is None:
        raise calls.unusable()
    return CheckpointView(
        id=key,
        step=calls.whole(item.step_number),
        epoch=None,
        target=calls.text(item.fine_tuned_model_checkpoint),
        metrics=_measures(item.metrics, _METRICS, "checkpoint"),
    )


def _full_metrics(events: Sequence[Any]) -> Mapping[int | None, Mapping[str, Measure]]:
    told: dict[int | None, Mapping[str, Measure]] = {}
    for event in events:
        data = getattr(event, "data", None)
        step = calls.whole(data.get("step")) if isinstance(data, dict) else None
        if step is not None:
            told.setdefault(step, _measures(data, _FULL, "event"))
    return told


def _measures(found: object, names: Sequence[str], source: str) -> Mapping[str, Measure]:
    values = found if isinstance(found, Mapping) else getattr(found, "__dict__", {})
    numbers = {name: calls.number(values.get(name)) for name in names}
    return {name: Measure(value, source) for name, value in numbers.items() if value is not None}


def _moment(value: object) -> datetime | None:
    seconds = calls.whole(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and seconds < 1 << 35 else None
