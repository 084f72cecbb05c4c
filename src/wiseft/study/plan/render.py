"""A plan as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wiseft.base.templates import filled
from wiseft.study.plan.days import Schedule, gpus_key
from wiseft.study.plan.estimate import Plan
from wiseft.study.plan.resources import Resources


def as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data; hours are GPU hours, sizes GB."""
    given = plan.assumptions
    return {
        "experiment": plan.experiment,
        "estimate": True,
        "gpu": given.gpu,
        "peak_tflops": {"fp32": given.peak.fp32, "half": given.peak.half},
        "utilisation": {kind: round(given.share(kind), 3) for kind in ("fp32", "half")},
        "training_rates": dict(given.training_rates),
        "evaluation_rates": dict(given.evaluation_rates),
        "jobs": plan.jobs,
        "gpu_hours": round(plan.hours, 3),
        "head_gpu_hours": round(plan.head_hours, 3),
        "runs": [
            {
                "model": row.model,
                "method": row.method,
                "runs": row.runs,
                "precision": row.precision,
                "training_gpu_hours": round(row.training_hours, 3),
                "evaluation_gpu_hours": round(row.evaluation_hours, 3),
                "measured": row.measured,
            }
            for row in plan.rows
        ],
        "disk_gb": {kind: round(size, 3) for kind, size in plan.disk_gb.items()},
        "notes": plan.notes,
    }


def render(
    plan: Plan,
    notes: Iterable[str] = (),
    asked: Iterable[Mapping[str, Any]] = (),
    days: Mapping[str, Schedule] | None = None,
) -> str:
    """Return a plan as text with Markdown tables.

    Args:
        notes: further sentences.
        asked: what jobs ask for, as `asked_by` returns it.
        days: schedules by what they are of, as `wiseft.study.plan.days.choices` returns them.
    """
    given = plan.assumptions
    rates = [f"{name} trains {rate:g} images/s" for name, rate in given.training_rates.items()]
    rates += [f"{name} evaluates {r:g} images/s" for name, r in given.evaluation_rates.items()]
    return filled(
        "study/plan/plan.md.j2",
        plan=plan,
        given=given,
        rates=rates,
        disk=[f"{kind} {_number(size)}" for kind, size in plan.disk_gb.items()],
        notes=[*plan.notes, *notes],
        asked=asked,
        days=days or {},
        gpus_key=gpus_key,
        number=_number,
    ).rstrip("\n")


def asked_by(resources: Resources) -> list[dict[str, Any]]:
    """Return what jobs ask for as plain data, of all suites of an evaluation the most."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for rule, *of in resources.jobs():
        need = resources.need(rule, *of)
        asked = {
            "images_a_pass": need.batch if need else 0,
            "gpu_memory_mb": resources.gpu_mem_mb(rule, *of),
            "memory_mb": resources.mem_mb(rule, *of),
            "minutes": resources.runtime(rule, *of),
        }
        row = rows.setdefault(("evaluate" if rule.startswith("evaluate_") else rule, *of), asked)
        row.update({key: max(value, row[key]) for key, value in asked.items()})
    return [dict(zip(("rule", "model", "method"), job, strict=False)) | rows[job] for job in rows]


def days_as_json(found: Mapping[str, Schedule]) -> dict[str, dict[str, Any]]:
    """Return the same as plain data."""
    return {
        text: {"hours": each.hours, "used": each.used, "gpus": gpus_key(each)}
        | {"path": {job.name: job.hours for job in each.path}}
        for text, each in found.items()
    }


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.1f}"
