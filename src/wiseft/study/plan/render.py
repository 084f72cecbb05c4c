"""A plan as text and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wiseft.study.plan.days import Schedule, gpus_key
from wiseft.study.plan.estimate import Assumptions, Plan


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


def render(plan: Plan) -> str:
    """Return a plan as Markdown, which a terminal shows as well."""
    lines = [f"Estimate for {plan.experiment}: {_basis(plan.assumptions)}", ""]
    if plan.rows:
        lines += [
            "| model | method | runs | precision | training, GPU h | evaluation, GPU h |",
            "|---|---|---|---|---|---|",
        ]
        for row in plan.rows:
            mark = " (measured)" if row.measured else ""
            lines.append(
                f"| {row.model} | {row.method} | {row.runs} | {row.precision}{mark} | "
                f"{_number(row.training_hours)} | {_number(row.evaluation_hours)} |"
            )
        lines.append("")
    sizes = {kind: _number(size) for kind, size in plan.disk_gb.items()}
    lines += [
        f"GPU hours: {_number(plan.hours)} (zero-shot heads: {_number(plan.head_hours)})",
        f"Jobs: {sum(plan.jobs.values())} ({_listed(plan.jobs)})",
        f"Disk, GB: {_number(sum(plan.disk_gb.values()))}"
        + (f" ({_listed(sizes)})" if sizes else ""),
    ]
    return "\n".join([*lines, *(f"Note: {note}" for note in plan.notes)])


def render_asked(asked: list[dict[str, Any]]) -> str:
    """Return what jobs ask for (`Resources.largest`) as a Markdown table."""
    lines = [
        "| job | model | method | images a pass | GPU memory, GB | memory, GB | time at most |",
        "|---|---|---|---|---|---|---|",
    ]
    for job in asked:
        gb = [_number(job[key] / 1000) for key in ("gpu_memory_mb", "memory_mb")]
        names = [job["rule"], job["model"], job.get("method", "")]
        minutes = job["minutes"]
        most = f"{minutes / 60:.0f} h" if minutes >= 120 else f"{minutes} min"
        cells = [*names, job["images_a_pass"] or "", *gb, most]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def render_days(found: Mapping[str, Schedule]) -> str:
    """Return schedules (`wiseft.study.plan.days.choices`) as Markdown."""
    first = next(iter(found.values()))
    chain = ", ".join(f"{job.name} ({_number(job.hours)} h)" for job in first.path if job.hours)
    lines = [
        f"On {first.gpus} GPUs, without what waits in queues and what runs on CPUs",
        "",
        "| settings | days | GPUs used |",
        "|---|---|---|",
        *(f"| {text} | {_number(s.hours / 24)} | {s.used:.0%} |" for text, s in found.items()),
        "",
        f"Longest chain: {chain or 'no job'}",
    ]
    if wide := found.get("training.how.gpus"):
        keys = ", ".join(f"{of}: {count}" for of, count in gpus_key(wide).items())
        lines.append(f"training.how.gpus: {{{keys}}} (--write FILE writes it)")
    if any(text.startswith("precision") for text in found):
        lines.append("Another precision is another method, such as end-to-end__bf16: other numbers")
    return "\n".join(lines)


def days_as_json(found: Mapping[str, Schedule]) -> dict[str, dict[str, Any]]:
    """Return the same as plain data."""
    return {
        text: {"hours": each.hours, "used": each.used, "gpus": gpus_key(each)}
        | {"path": {job.name: job.hours for job in each.path}}
        for text, each in found.items()
    }


def _basis(given: Assumptions) -> str:
    text = (
        f"one {given.gpu}, of whose peak {given.share('fp32'):.0%} is reached in fp32 (of "
        f"{given.peak.fp32:g} TFLOP/s) and {given.share('half'):.0%} in fp16 and bf16 (of "
        f"{given.peak.half:g})"
    )
    rates = [
        *(f"{name} trains {rate:g} images/s" for name, rate in given.training_rates.items()),
        *(f"{name} evaluates {rate:g} images/s" for name, rate in given.evaluation_rates.items()),
    ]
    return f"{text}; measured: {', '.join(rates)}" if rates else text


def _listed(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.1f}"
