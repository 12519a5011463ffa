"""Vertex AI: Gemini tuning jobs, their checkpoints' endpoints, and the default checkpoint of a tuned model.

A name that is not in our own project and location is never called: a forged or mistaken reply could otherwise send
prompts, or a change of default, to somebody else's resource.
"""

import math
import re
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from google import genai
from google.auth import exceptions as auth
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from ratchet.adapters import calls
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.records import JobState, Measure
from ratchet.domain.suite import Tool
from ratchet.ports import Answer, CheckpointView, Denied, Finish, JobView, NoAnswer, PermanentError, Prompt, Unavailable

# Every state that is not here, known or not yet known to us, has not ended.
_STATES: Mapping[str, JobState] = {
    "JOB_STATE_QUEUED": JobState.PENDING,
    "JOB_STATE_PENDING": JobState.PENDING,
    "JOB_STATE_SUCCEEDED": JobState.SUCCEEDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": JobState.SUCCEEDED,
    "JOB_STATE_FAILED": JobState.FAILED,
    "JOB_STATE_EXPIRED": JobState.FAILED,
    "JOB_STATE_CANCELLED": JobState.CANCELLED,
}
_BLOCKED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"})
_MUST_CALL = types.ToolConfig(
    function_calling_config=types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
)
_SCORES = {
    "pointwise_metric_result": "evaluation",
    "bleu_metric_value": "evaluation.bleu",
    "rouge_metric_value": "evaluation.rouge",
    "exact_match_metric_value": "evaluation.exact_match",
}
_SPECS = (
    "supervised_tuning_spec", "preference_optimization_spec", "reinforcement_tuning_spec", "full_fine_tuning_spec",
    "partner_model_tuning_spec", "distillation_spec", "distillation_sampling_spec", "veo_tuning_spec",
    "veo_lora_tuning_spec",
)  # fmt: skip
_NAME = re.compile(
    r"projects/([a-z0-9-]{1,63})/locations/([a-z0-9-]{1,63})/(tuningJobs|endpoints|models)/"
    r"([A-Za-z0-9_-]{1,63}(?:@[0-9]{1,19})?)"
)


class VertexProvider:
    """One project (`account` is its number, `project` its id) in one location."""

    def __init__(
        self,
        account: str,
        project: str,
        location: str,
        base_url: str | None = None,
        timeout: float = 20.0,
        credentials: Any = None,
        shutdown_dates: Mapping[str, datetime] | None = None,
    ) -> None:
        self._account = account
        self._project = project
        self._location = location
        self._home = f"projects/{account}/locations/{location}"
        self._base_url = base_url
        self._timeout = timeout
        self._credentials = credentials
        self._shutdown_dates = shutdown_dates or {}

    @cached_property
    def _client(self) -> genai.client.AsyncClient:
        credentials = self._credentials
        if credentials is None and urlsplit(self._base_url or "").hostname in ("127.0.0.1", "localhost", "::1"):
            credentials = Credentials(token="simulated")  # type: ignore[no-untyped-call]  # noqa: S106
        # Without retry options there is one attempt. Our own HTTP client also keeps the SDK off aiohttp, which retries
        # once by itself.
        return genai.Client(
            vertexai=True,
            project=self._project,
            location=self._location,
            credentials=credentials,
            http_options=types.HttpOptions(
                base_url=self._base_url,
                timeout=round(self._timeout * 1000),
                httpx_async_client=calls.http_client(self._timeout),
            ),
        ).aio

    def get_job(self, job: JobKey) -> JobView:
        return calls.run(self._get_job(job))

    async def _get_job(self, job: JobKey) -> JobView:
        return self._job_view(await self._fetch_job(job))

    def list_jobs(self, created_since: datetime) -> Sequence[JobView]:
        return calls.run(self._list_jobs(created_since))

    async def _list_jobs(self, created_since: datetime) -> Sequence[JobView]:
        async def fetch(token: str | None) -> tuple[Sequence[types.TuningJob], str | None]:
            config = types.ListTuningJobsConfig(page_size=100, page_token=token)
            pager: Any = await self._call(lambda: self._client.tunings.list(config=config))
            return pager.page, pager.config.get("page_token")

        views = map(self._job_view, await calls.all_pages(fetch))
        known = {view.key: view for view in views if view.created_at is None or view.created_at >= created_since}
        return sorted(known.values(), key=lambda view: view.created_at or created_since, reverse=True)

    def list_checkpoints(self, job: JobKey) -> Sequence[CheckpointView]:
        return calls.run(self._list_checkpoints(job))

    async def _list_checkpoints(self, job: JobKey) -> Sequence[CheckpointView]:
        found = await self._fetch_job(job)
        measured = _evaluations(found.evaluate_dataset_runs or [])
        views = {}
        for item in (found.tuned_model and found.tuned_model.checkpoints) or []:
            if not item.checkpoint_id:
                raise calls.unusable()
            views[item.checkpoint_id] = CheckpointView(
                id=item.checkpoint_id,
                step=calls.whole(item.step),
                epoch=calls.whole(item.epoch),
                target=self._canonical(item.endpoint),
                metrics=measured.get(item.checkpoint_id, {}),
            )
        return sorted(views.values(), key=lambda view: (view.step is None, view.step or 0, view.id))

    async def _fetch_job(self, job: JobKey) -> types.TuningJob:
        if (job.provider, job.account, job.location) != (Provider.VERTEX, self._account, self._location):
            raise PermanentError("not_ours")
        name = f"{self._home}/tuningJobs/{job.id}"
        found: types.TuningJob = await self._call(lambda: self._client.tunings.get(name=name))
        if self._canonical(found.name) != name:
            raise calls.unusable()
        return found

    def _job_view(self, job: types.TuningJob) -> JobView:
        place = self._place(job.name)
        if place is None or place[0] != "tuningJobs":
            raise calls.unusable()
        state = _STATES.get(job.state.value if job.state else "", JobState.RUNNING)
        earlier = job.pre_tuned_model
        return JobView(
            key=JobKey(Provider.VERTEX, self._account, self._location, place[1]),
            base_model=job.base_model or (earlier and earlier.base_model) or "",
            name=calls.name(job.tuned_model_display_name) or "",
            state=state,
            labels=calls.words(job.labels),
            datasets=_datasets(job),
            created_at=_aware(job.create_time),
            ended_at=_aware(job.end_time) if state.terminal else None,
            model=self._canonical(job.tuned_model.model if job.tuned_model else None),
        )

    def probe(self, target: str) -> None:
        self._own(target, "endpoints")
        calls.run(self._ask(target, calls.PING, 0))

    def generate(
        self, target: str, prompts: Sequence[Prompt], concurrency: int, seconds: float, *, answers: bool = True
    ) -> Generator[Sequence[Answer | NoAnswer]]:
        self._own(target, "endpoints")
        return calls.fan_out(
            lambda index: self._ask(target, prompts[index], index), len(prompts), concurrency, seconds, answers=answers
        )

    async def _ask(self, target: str, prompt: Prompt, index: int) -> Answer:
        config = types.GenerateContentConfig(
            system_instruction=prompt.system,
            temperature=prompt.temperature,
            max_output_tokens=prompt.max_tokens,
            seed=prompt.seed,
            tools=[types.Tool(function_declarations=list(map(_declaration, prompt.tools)))] if prompt.tools else None,
            tool_config=_MUST_CALL if prompt.must_call else None,
        )
        began = time.monotonic()
        reply: types.GenerateContentResponse = await self._call(
            lambda: self._client.models.generate_content(model=target, contents=prompt.text, config=config),
            prompt.timeout,
        )
        usage, feedback = reply.usage_metadata, reply.prompt_feedback
        if not (reply.candidates or feedback or usage):
            raise calls.unusable()
        candidate = reply.candidates[0] if reply.candidates else types.Candidate()
        parts = (candidate.content and candidate.content.parts) or []
        said = "".join(part.text for part in parts if part.text and not part.thought)
        called = [_call(part.function_call) for part in parts if part.function_call]
        if called:
            said = calls.calling(said, called)
        reason = candidate.finish_reason.value if candidate.finish_reason else ""
        if reason in _BLOCKED or (feedback and feedback.block_reason):
            ended = Finish.BLOCKED
        else:
            ended = Finish.LENGTH if reason == "MAX_TOKENS" else Finish.STOP
        # Thinking is paid for like output.
        spent = ((usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)) if usage else 0
        return calls.answer(
            index,
            said,
            ended,
            began=began,
            tokens_in=usage and usage.prompt_token_count,
            tokens_out=spent,
            called=bool(called),
            # Told unasked; to ask for those of each token is refused by some models.
            logprob=calls.number(candidate.avg_logprobs),
        )

    def get_default(self, model: str) -> str | None:
        self._own(model, "models")
        return calls.run(self._get_default(model))

    async def _get_default(self, model: str) -> str | None:
        found: types.Model = await self._call(lambda: self._client.models.get(model=model))
        if not found.name:
            raise calls.unusable()
        return found.default_checkpoint_id or None

    def set_default(self, model: str, checkpoint_id: str) -> None:
        self._own(model, "models")
        config = types.UpdateModelConfig(default_checkpoint_id=checkpoint_id)
        calls.run(self._call(lambda: self._client.models.update(model=model, config=config)))

    def shutdown_date(self, base_model: str) -> datetime | None:
        # Vertex tells it on a web page only.
        return self._shutdown_dates.get(base_model)

    def _place(self, name: str | None) -> tuple[str, str] | None:
        """(collection, id) of a resource in our project and location; None for any other name."""
        found = _NAME.fullmatch(name or "")
        if not found or found[1] not in (self._account, self._project) or found[2] != self._location:
            return None
        return found[3], found[4]

    def _canonical(self, name: str | None) -> str | None:
        """Our own resources by project number, so that one thing has one name; what is not ours stays as it is."""
        place = self._place(name)
        return f"{self._home}/{place[0]}/{place[1]}" if place else name or None

    def _own(self, name: str, collection: str) -> None:
        place = self._place(name)
        if place is None or place[0] != collection or ("@" in place[1]) != (collection == "models"):
            raise PermanentError("endpoint_foreign")

    async def _call(self, call: Callable[[], Awaitable[Any]], timeout: float = math.inf) -> Any:
        try:
            return await calls.attempt(call, min(self._timeout, timeout))
        except errors.APIError as exc:
            headers = getattr(exc.response, "headers", {})
            raise calls.status_failure(exc.code, headers) from exc
        except auth.TransportError as exc:
            raise calls.Failed(Unavailable(), maybe_billed=False) from exc
        except auth.GoogleAuthError as exc:
            raise calls.Failed(Denied(), maybe_billed=False) from exc


def _declaration(tool: Tool) -> types.FunctionDeclaration:
    return types.FunctionDeclaration(
        name=tool.name, description=tool.description or None, parameters_json_schema=tool.parameters
    )


def _call(made: types.FunctionCall) -> Mapping[str, Any]:
    """In OpenAI's form, so that a suite says the same of both providers."""
    identity = {"id": made.id} if made.id else {}
    function = {"name": made.name, "arguments": calls.compact(made.args or {})}
    return {**identity, "type": "function", "function": function}


def _evaluations(runs: Sequence[types.EvaluateDatasetRun]) -> Mapping[str, Mapping[str, Measure]]:
    """Scores by checkpoint id. A name that two results claim with different numbers is nobody's."""
    measured: dict[str, dict[str, set[float]]] = {}
    for run in runs:
        output = run.evaluate_dataset_response and run.evaluate_dataset_response.aggregation_output
        for result in (output and output.aggregation_results) or []:
            kind = result.aggregation_metric.value.lower() if result.aggregation_metric else "unspecified"
            for field, name in _SCORES.items():
                score = calls.number(getattr(getattr(result, field), "score", None))
                if score is not None and run.checkpoint_id:
                    measured.setdefault(run.checkpoint_id, {}).setdefault(f"{name}.{kind}", set()).add(score)
    return {
        checkpoint: {name: Measure(values.pop(), "evaluation") for name, values in scores.items() if len(values) == 1}
        for checkpoint, scores in measured.items()
    }


def _datasets(job: types.TuningJob) -> Mapping[str, str]:
    """A job has one spec, of the method that it is tuned by. A distillation learns from prompts."""
    spec = next((spec for name in _SPECS if (spec := getattr(job, name, None)) is not None), None)
    training = getattr(spec, "training_dataset_uri", None) or getattr(spec, "prompt_dataset_uri", None)
    return calls.datasets(training, getattr(spec, "validation_dataset_uri", None))


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
