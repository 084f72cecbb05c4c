"""A plan as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wiseft.base.templates import filled
from wiseft.study.plan.days import Schedule, gpus_key
from wiseft.study.plan.estimate import Plan
from wiseft.study.plan.resources import Resources


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


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.1f}"
