"""OpenAI as it answers: fine-tuning jobs, their checkpoints and events, models, chat, responses, webhook endpoints.

`error` is `{}` on a healthy job, nulls are written out, lists are newest first, checkpoints show when the job ends.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from ratchet_sim.scenario import Account, Checkpoint, Job
from ratchet_sim.world import Body, Reply, Request, WebhookEndpoint, World, digest, shown_at, tokens

PREFIX = "/openai"
_JOBS = re.compile(r"/v1/fine_tuning/jobs(?:/([^/]+))?(?:/(checkpoints|events))?")
_ENDPOINTS = re.compile(r"/v1/webhook_endpoints(?:/([^/]+)/rotate_secret)?")
_OVERLAP = timedelta(hours=24)
_DATASETS: Mapping[str, str] = {"training": "file-simtrain", "validation": "file-simvalid"}
_ERROR = {
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    429: ("tokens", "rate_limit_exceeded", "Rate limit reached."),
}


def error(code: int, message: str = "", reason: str | None = None, param: str | None = None) -> Body:
    fallback = ("server_error", None, "The server had an error processing your request.")
    kind, known, text = _ERROR.get(code, fallback if code >= 500 else ("invalid_request_error", None, "Bad request."))
    return {"error": {"message": message or text, "type": kind, "param": param, "code": reason or known}}


def reply(request: Request, world: World) -> Reply:
    mine = (a for a in world.spec.accounts if a.provider == "openai" and a.api_key and a.api_key == request.token)
    account = next(mine, None)
    if account is None:
        return Reply(401, error(401))
    jobs = world.jobs(account)
    if request.method == "GET" and (found := _JOBS.fullmatch(request.path)):
        return _jobs_door(world, jobs, request, *found.groups())
    if request.method == "GET" and request.path.startswith("/v1/models/"):
        return _get_model(world, jobs, unquote(request.path.removeprefix("/v1/models/")))
    if request.method == "POST" and request.path in ("/v1/chat/completions", "/v1/responses"):
        return _answer(world, jobs, request)
    if found := _ENDPOINTS.fullmatch(request.path):
        return _endpoints_door(world, account, request, found[1])
    return Reply(404, error(404, f"Invalid URL ({request.method} {request.path})"))


def _jobs_door(world: World, jobs: list[Job], request: Request, job_id: str | None, part: str | None) -> Reply:
    if job_id is None:
        wanted = {k[9:-1]: v for k, v in request.query.items() if k.startswith("metadata[")}
        chosen = [j for j in jobs if all(j.labels.get(k) == v for k, v in wanted.items())]
        return _page([_job_body(world, job) for job in chosen], request, 20)
    job = next((job for job in jobs if job.id == job_id), None)
    if job is None:
        return Reply(404, error(404, f"Could not find fine tune: {job_id}", "fine_tune_not_found", "fine_tune_id"))
    if part is None:
        return Reply(200, _job_body(world, job))
    if part == "events":
        return _page(_events(world, job), request, 20)
    page = _page([_checkpoint_body(world, job, c) for c in reversed(world.listed(job))], request, 10)
    if page.status != 200:
        return page
    ids = [item["id"] for item in page.body["data"]] or [None]
    return Reply(200, page.body | {"first_id": ids[0], "last_id": ids[-1]})


def _page(items: list[Body], request: Request, default_limit: int) -> Reply:
    limit, after = request.query.get("limit", str(default_limit)), request.query.get("after")
    ids = [item["id"] for item in items]
    if not limit.isdecimal() or int(limit) < 1 or (after is not None and after not in ids):
        return Reply(400, error(400, "Invalid value for limit or after."))
    start = ids.index(after) + 1 if after is not None else 0
    end = start + int(limit)
    return Reply(200, {"object": "list", "data": items[start:end], "has_more": end < len(items)})


def _job_body(world: World, job: Job) -> Body:
    state, ended = world.state(job), world.ended(job)
    hyper = {"n_epochs": len(job.checkpoints) or 1, "batch_size": 1, "learning_rate_multiplier": 1.8}
    succeeded = state == "succeeded" and bool(job.checkpoints)
    failure = {"code": "invalid_training_file", "param": "training_file", "message": "The training file is invalid."}
    datasets = _DATASETS if job.datasets is None else job.datasets
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "model": job.base_model,
        "created_at": _unix(world, job.created),
        "finished_at": _unix(world, job.ends.at) if job.ends and ended else None,
        "fine_tuned_model": job.in_order()[-1].target if succeeded else None,
        "organization_id": "org-sim",
        "result_files": [f"file-{digest(job.id)[:12]}"] if succeeded else [],
        "status": state,
        "validation_file": datasets.get("validation"),
        "training_file": datasets.get("training"),
        "hyperparameters": hyper,
        "trained_tokens": 379446 if succeeded else None,
        "error": failure if state == "failed" else {},
        "user_provided_suffix": job.display_name or None,
        "seed": world.spec.seed,
        "estimated_finish": _unix(world, job.ends.at) if job.ends and not ended else None,
        "integrations": [],
        "metadata": dict(job.labels),
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyper}},
    }


def _made_at(job: Job, checkpoint: Checkpoint) -> timedelta:
    """Stamped within the run, in proportion to the step, although lists show it only later."""
    shown = shown_at(job, checkpoint) or job.created
    if job.ends is None:
        return shown
    last = max(c.step for c in job.checkpoints) or 1
    return min(shown, job.created + (job.ends.at - job.created) * (checkpoint.step / last))


def _checkpoint_body(world: World, job: Job, checkpoint: Checkpoint) -> Body:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": checkpoint.id,
        "created_at": _unix(world, _made_at(job, checkpoint)),
        "fine_tuned_model_checkpoint": checkpoint.target,
        "fine_tuning_job_id": job.id,
        "metrics": {"step": checkpoint.step, **checkpoint.metrics},
        "step_number": checkpoint.step,
    }


def _events(world: World, job: Job) -> list[Body]:
    """Newest first. The lines about checkpoints are all stamped at the job's end, as the service does."""
    told: list[tuple[timedelta, str, Body | None]] = [(job.created, f"Created fine-tuning job: {job.id}", None)]
    total = max([c.step for c in job.checkpoints], default=0)
    for c in job.in_order():
        data = {"step": c.step, "total_steps": total, **c.metrics, **c.event_metrics}
        text = f"Step {c.step}/{total}: training loss={c.metrics.get('train_loss', 0):.2f}"
        told.append((_made_at(job, c), text, data))
    if job.ends:
        last = job.in_order()[-1:] if job.ends.state == "succeeded" else ()
        texts = [
            f"New fine-tuned model created: {c.target}" if c in last
            else f"Checkpoint created at step {c.step} with Snapshot ID: {c.target}"
            for c in job.in_order()
        ]  # fmt: skip
        closing = {"succeeded": "The job has successfully completed"}.get(job.ends.state, f"The job {job.ends.state}")
        told += [(job.ends.at, text, None) for text in [*texts, closing]]
    told = sorted((line for line in told if line[0] <= world.t), key=lambda line: line[0])
    return [_event_body(world, job, number, *line) for number, line in enumerate(told)][::-1]


def _event_body(world: World, job: Job, number: int, at: timedelta, text: str, data: Body | None) -> Body:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{digest(job.id, number, text)[:16]}",
        "created_at": _unix(world, at),
        "level": "info",
        "message": text,
        "data": data or {},
        "type": "metrics" if data else "message",
    }


def _get_model(world: World, jobs: list[Job], name: str) -> Reply:
    facts = {m.name: m.shutdown_date for m in world.spec.base_models}
    if name in facts or name in [job.base_model for job in jobs]:
        return Reply(200, _model_body(name, _unix(world, timedelta()), "system", facts.get(name)))
    for job, checkpoint in _targets(world, jobs, name):
        made = _unix(world, _made_at(job, checkpoint))
        return Reply(200, _model_body(name, made, "org-sim", facts.get(job.base_model)))
    return _no_such_model(name)


def _model_body(name: str, created: int, owner: str, shutdown: str | None) -> Body:
    return {"id": name, "object": "model", "created": created, "owned_by": owner, "shutdown_date": shutdown}


def _targets(world: World, jobs: list[Job], name: str) -> list[tuple[Job, Checkpoint]]:
    return [(j, c) for j in jobs for c in j.checkpoints if c.target == name and world.answering(j, c)]


def _no_such_model(name: str) -> Reply:
    text = f"The model `{name}` does not exist or you do not have access to it."
    return Reply(404, error(404, text, "model_not_found"))


def _answer(world: World, jobs: list[Job], request: Request) -> Reply:
    body = request.body if isinstance(request.body, dict) else {}
    name, prompt = str(body.get("model") or ""), _prompt(body.get("messages") or body.get("input"))
    if not name or not prompt:
        return Reply(400, error(400, "you must provide a model and something to answer"))
    targets = _targets(world, jobs, name)
    if not targets:
        return _no_such_model(name)
    text = world.answer(targets[0][1], prompt)
    shape = _chat_body if request.path == "/v1/chat/completions" else _response_body
    made = _unix(world, world.t)
    return Reply(200, shape(digest(name, prompt, world.t)[:24], made, name, text, tokens(prompt), tokens(text)))


def _prompt(said: Any) -> str:
    """All text of a chat's messages or of a response's input, which may be one string."""
    if isinstance(said, str):
        return said
    contents = [item.get("content") for item in said or [] if isinstance(item, dict)]
    parts = [[{"text": content}] if isinstance(content, str) else content or [] for content in contents]
    return "\n".join(part.get("text", "") for listed in parts for part in listed if isinstance(part, dict))


def _chat_body(key: str, made: int, name: str, text: str, asked: int, said: int) -> Body:
    message: Body = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return {
        "id": f"chatcmpl-{key}",
        "object": "chat.completion",
        "created": made,
        "model": name,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _response_body(key: str, made: int, name: str, text: str, asked: int, said: int) -> Body:
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {"type": "message", "id": f"msg_{key}", "status": "completed", "role": "assistant", "content": [content]}
    return {
        "id": f"resp_{key}",
        "object": "response",
        "created_at": made,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": name,
        "output": [message],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "metadata": {},
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + said,
        },
    }


def _endpoints_door(world: World, account: Account, request: Request, rotated: str | None) -> Reply:
    """List, create, rotate; a secret is told in the reply that makes it, and never again."""
    mine = [endpoint for endpoint in reversed(world.endpoints) if endpoint.account == account.account]
    if request.method == "GET" and rotated is None:
        page = _page([_endpoint_body(world, endpoint) for endpoint in mine], request, 20)
        ids = [item["id"] for item in page.body.get("data", ())] or [None]
        return Reply(page.status, page.body | ({"first_id": ids[0], "last_id": ids[-1]} if page.status == 200 else {}))
    if request.method != "POST":
        return Reply(404, error(404, f"Invalid URL ({request.method} {request.path})"))
    body = request.body if isinstance(request.body, dict) else {}
    if rotated is None:
        return _create_endpoint(world, account, body)
    endpoint = next((each for each in mine if each.id == rotated), None)
    if endpoint is None:
        return Reply(404, error(404, f"No such webhook endpoint: {rotated}"))
    kept = body.get("keep_old_secret_active_for_24_hours", False)
    secrets = (_signing_secret(world, endpoint.id, len(endpoint.secrets)), *endpoint.secrets)
    until = (world.t + (_OVERLAP if kept else timedelta())).total_seconds()
    return _with_secret(world, replace(endpoint, secrets=secrets, old_until=until, updated=world.t.total_seconds()))


def _create_endpoint(world: World, account: Account, body: Body) -> Reply:
    name, url, kinds = body.get("name"), body.get("url"), body.get("event_types")
    if not isinstance(name, str) or not isinstance(url, str) or not url.startswith("https://") or not kinds:
        return Reply(400, error(400, "name, an https url and event_types are required"))
    key, t = "wh_" + digest(world.spec.seed, "endpoint", len(world.endpoints))[:24], world.t.total_seconds()
    secrets = (_signing_secret(world, key, 0),)
    return _with_secret(world, WebhookEndpoint(key, account.account, name, url, tuple(kinds), t, t, secrets))


def _signing_secret(world: World, key: str, number: int) -> str:
    drawn = hashlib.sha256(digest(world.spec.seed, key, number).encode()).digest()
    return "whsec_" + base64.b64encode(drawn).decode()


def _with_secret(world: World, endpoint: WebhookEndpoint) -> Reply:
    return Reply(200, _endpoint_body(world, endpoint) | {"signing_secret": endpoint.secrets[0]}, effect=endpoint)


def _endpoint_body(world: World, endpoint: WebhookEndpoint) -> Body:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": _unix(world, timedelta(seconds=endpoint.created)),
        "updated_at": _unix(world, timedelta(seconds=endpoint.updated)),
        "event_types": list(endpoint.event_types),
        "name": endpoint.name,
        "url": endpoint.url,
        "signing_secret_hint": "whsec_..." + endpoint.secrets[0][-4:],
    }


def _unix(world: World, offset: timedelta) -> int:
    return int(world.instant(offset).timestamp())
