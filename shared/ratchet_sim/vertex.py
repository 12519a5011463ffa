"""Vertex AI as it answers: tuning jobs, tuned models and their endpoints, in the shapes of its JSON.

int64 travels as a string, empty fields are left out, a PATCH needs no mask, and an endpoint that is not there yet is
404 like one that never will be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from ratchet_sim.scenario import Account, Checkpoint, Job
from ratchet_sim.world import Body, Reply, Request, SetDefault, World, digest, model_name, tokens

PREFIX = "/vertex"
_PATH = re.compile(r"/v1(?:beta1)?/projects/([^/]+)/locations/([^/]+)/(tuningJobs|models|endpoints)(?:/([^/]+))?")
_LABEL_FILTER = re.compile(r'labels\.([\w-]+)\s*[=:]\s*"?([\w-]+|\*)"?')
_DATASETS: Mapping[str, str] = {
    "training": "gs://example-bucket/train.jsonl",
    "validation": "gs://example-bucket/valid.jsonl",
}
_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 408: "CANCELLED",
    409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_MESSAGE = {429: "Resource exhausted. Please try again later.", 503: "The service is currently unavailable."}


def error(code: int, message: str = "") -> Body:
    status = _STATUS.get(code, "UNKNOWN")
    return {"error": {"code": code, "message": message or _MESSAGE.get(code, status), "status": status}}


def reply(request: Request, world: World) -> Reply:
    if not request.token:
        return _refusal(401, "Request is missing required authentication credential.")
    found = _PATH.fullmatch(request.path)
    if not found:
        return _refusal(404, f"Not found: {request.path}")
    project, location, collection, name = (unquote(part or "") for part in found.groups())
    account = _account(world, project)
    if account is None:
        return _refusal(403, f"Permission denied on resource project {project}.")
    jobs = world.jobs(account, location)
    match request.method, collection, bool(name):
        case "GET", "tuningJobs", False:
            return _page("tuningJobs", [_job_body(world, job) for job in jobs], request)
        case "GET", "tuningJobs", True:
            return _get_job(world, jobs, name)
        case "GET", "models", False:
            return _page("models", [_model_body(world, job) for job in jobs if _model_is_there(world, job)], request)
        case (("GET" | "PATCH"), "models", True):
            return _model(world, jobs, name, request)
        case "POST", "endpoints", True if name.endswith(":generateContent"):
            return _generate(world, jobs, name.removesuffix(":generateContent"), request)
    return _refusal(404, f"Not found: {request.method} {request.path}")


def _refusal(code: int, message: str) -> Reply:
    return Reply(code, error(code, message))


def _account(world: World, project: str) -> Account | None:
    mine = (a for a in world.spec.accounts if a.provider == "vertex" and project in (a.account, a.project))
    return next(mine, None)


def _page(key: str, items: list[Body], request: Request) -> Reply:
    for label, wanted in _LABEL_FILTER.findall(request.query.get("filter", "")):
        items = [i for i in items if label in i.get("labels", {}) and wanted in ("*", i["labels"][label])]
    size, token = request.query.get("pageSize", "100"), request.query.get("pageToken") or "page-0"
    if not size.isdecimal() or not re.fullmatch(r"page-\d+", token):
        return _refusal(400, "Request contains an invalid argument.")
    start, end = int(token[5:]), int(token[5:]) + (int(size) or 100)
    body: Body = {key: items[start:end]} if items[start:end] else {}
    return Reply(200, body | ({"nextPageToken": f"page-{end}"} if end < len(items) else {}))


def _get_job(world: World, jobs: list[Job], number: str) -> Reply:
    job = next((job for job in jobs if job.id == number), None)
    return Reply(200, _job_body(world, job)) if job else _refusal(404, f"TuningJob `{number}` not found.")


def _job_body(world: World, job: Job) -> Body:
    state = world.state(job)
    started = job.created if job.running is None else job.running
    steps = [c.at for c in world.listed(job) if c.at is not None]
    moments = [job.created, started, *steps, *([job.ends.at] if job.ends else [])]
    datasets = _DATASETS if job.datasets is None else job.datasets
    body: Body = {
        "name": _resource(job, "tuningJobs", job.id),
        "tunedModelDisplayName": _display_name(job),
        "baseModel": job.base_model,
        "supervisedTuningSpec": {
            **{f"{use}DatasetUri": address for use, address in datasets.items()},
            "hyperParameters": {
                "epochCount": str(max([c.epoch for c in job.checkpoints], default=1)),
                "learningRateMultiplier": 1.0,
                "adapterSize": "ADAPTER_SIZE_FOUR",
            },
        },
        "state": "JOB_STATE_PENDING" if state == "queued" else f"JOB_STATE_{state.upper()}",
        "createTime": _time(world, job.created),
        "updateTime": _time(world, max(m for m in moments if m <= world.t)),
        "labels": dict(job.labels),
        "experiment": _resource(job, "metadataStores/default/contexts", f"tuning-experiment-{job.id}"),
    }
    if started <= world.t:
        body["startTime"] = _time(world, started)
    if job.ends and world.ended(job):
        body["endTime"] = _time(world, job.ends.at)
        body["tuningDataStats"] = _data_stats(job)
    if state == "failed":
        body["error"] = {"code": 3, "message": "Training dataset row 17 is not valid."}
    if state == "cancelled":
        body["error"] = {"code": 1, "message": "CANCELLED"}
    return body | _tuned_model(world, job) | _evaluations(world, job)


def _tuned_model(world: World, job: Job) -> Body:
    tuned: Body = {}
    default = world.default(job)
    if default is not None:
        tuned["model"] = default.model
        tuned["endpoint"] = _endpoint(job, next(c for c in job.checkpoints if c.id == default.checkpoint))
    checkpoints = [
        {"checkpointId": c.id, "epoch": str(c.epoch), "step": str(c.step)}
        | ({"endpoint": _endpoint(job, c)} if world.has_endpoint(c) else {})
        for c in world.listed(job)
    ]
    if checkpoints:
        tuned["checkpoints"] = checkpoints
    return {"tunedModel": tuned} if tuned else {}


def _evaluations(world: World, job: Job) -> Body:
    runs = [
        {
            "checkpointId": c.id,
            "evaluationRun": _resource(job, "evaluationRuns", str(int(digest(job.id, c.id)[:8], 16))),
            "evaluateDatasetResponse": {
                "aggregationOutput": {
                    "aggregationResults": [
                        {"aggregationMetric": "AVERAGE", _score_field(name): {"score": score}}
                        for name, score in c.metrics.items()
                    ]
                }
            },
        }
        for c in world.listed(job)
        if c.metrics
    ]
    return {"evaluateDatasetRuns": runs} if runs else {}


def _score_field(metric: str) -> str:
    return "pointwiseMetricResult" if metric == "pointwise" else f"{metric}MetricValue"


def _data_stats(job: Job) -> Body:
    last = max([c.step for c in job.checkpoints], default=0)
    stats = {"tuningDatasetExampleCount": "500", "totalBillableTokenCount": "120000", "tuningStepCount": str(last)}
    return {"supervisedTuningDataStats": stats}


def _model_is_there(world: World, job: Job) -> bool:
    return world.model_exists(job) and not world.model_deleted(job)


def _model(world: World, jobs: list[Job], name: str, request: Request) -> Reply:
    there = [job for job in jobs if _model_is_there(world, job)]
    # A name without a version means the default version, which here is the first.
    job = next(
        (j for j in there if model_name(j) == _resource(j, "models", name if "@" in name else f"{name}@1")), None
    )
    if job is None:
        return _refusal(404, f"Model `{name}` not found.")
    if request.method == "GET":
        return Reply(200, _model_body(world, job))
    wanted = request.body.get("defaultCheckpointId") if isinstance(request.body, dict) else None
    if wanted not in [c.id for c in job.checkpoints]:
        return _refusal(400, f"Checkpoint `{wanted}` does not exist in the model.")
    body = _model_body(world, job)
    now = {"updateTime": _time(world, world.t), "etag": digest(model_name(job), world.t)[:12]}
    return Reply(200, body | now | {"defaultCheckpointId": wanted}, SetDefault(model_name(job), str(wanted)))


def _model_body(world: World, job: Job) -> Body:
    default = world.default(job)
    assert default is not None
    assert job.ends is not None
    name, _, version = model_name(job).partition("@")
    labels = {"google-vertex-llm-tuning-base-model-id": job.base_model, "google-vertex-llm-tuning-job-id": job.id}
    return {
        "name": name,
        "displayName": _display_name(job),
        "versionId": version,
        "versionAliases": ["default"],
        "versionCreateTime": _time(world, job.ends.at),
        "versionUpdateTime": _time(world, job.ends.at),
        "createTime": _time(world, job.ends.at),
        "updateTime": _time(world, default.at),
        "etag": digest(default.model, default.at)[:12],
        "labels": labels | {"tune-type": "sft"} | dict(job.labels),
        "deployedModels": [
            {"endpoint": _endpoint(job, c), "deployedModelId": str(int(digest(job.id, c.endpoint)[:12], 16))}
            for c in job.in_order()
        ],
        "defaultCheckpointId": default.checkpoint,
        "checkpoints": [{"checkpointId": c.id, "epoch": str(c.epoch), "step": str(c.step)} for c in job.in_order()],
    }


def _generate(world: World, jobs: list[Job], number: str, request: Request) -> Reply:
    callable_ones = ((job, c) for job in jobs for c in job.checkpoints if c.endpoint == number)
    job, checkpoint = next(callable_ones, (None, None))
    if job is None or checkpoint is None or not world.answering(job, checkpoint):
        return _refusal(404, f"Endpoint `{request.path.partition('/v1')[2]}` not found.")
    prompt = _prompt(request.body)
    if not prompt:
        return _refusal(400, "contents is required.")
    answer = world.answer(checkpoint, prompt)
    content = {"role": "model", "parts": [{"text": answer}]}
    usage = {"promptTokenCount": tokens(prompt), "candidatesTokenCount": tokens(answer)}
    return Reply(
        200,
        {
            "candidates": [{"content": content, "finishReason": "STOP", "avgLogprobs": -0.02}],
            "usageMetadata": usage | {"totalTokenCount": sum(usage.values()), "trafficType": "ON_DEMAND"},
            "modelVersion": _endpoint(job, checkpoint),
            "createTime": _time(world, world.t),
            "responseId": digest(number, prompt, world.t)[:22],
        },
    )


def _prompt(body: Any) -> str:
    contents = body.get("contents", []) if isinstance(body, dict) else []
    parts = [part for content in contents if isinstance(content, dict) for part in content.get("parts", [])]
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _endpoint(job: Job, checkpoint: Checkpoint) -> str:
    return _resource(job, "endpoints", checkpoint.endpoint)


def _resource(job: Job, collection: str, name: str) -> str:
    return f"projects/{job.account}/locations/{job.location}/{collection}/{name}"


def _display_name(job: Job) -> str:
    return job.display_name or f"tuned-{job.id}"


def _time(world: World, offset: timedelta) -> str:
    moment: datetime = world.instant(offset)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
