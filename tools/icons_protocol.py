"""The rates of the experiment `icons`, chosen on held-out designers (docs/icons.md, Protocol).

    python -m tools.icons_protocol             # about 60 CPU minutes; a killed run goes on
    python -m tools.icons_protocol --model icons-rn-brief --seeds 0     # a rehearsal

Pre-training seeds 0 to 2, which are never reported, fine-tuning seeds of the same number; the
held-out splits of both references, never a test split or a shift. The datasets `icons` and
`icons-vendors` and the model's glyph file must be there (`wiseft data prepare`, `wiseft glyphs`, or
`make run EXPERIMENT=icons`, which makes them first). Work lies in `.wiseft/protocol/icons`; what
was measured is written to `docs/icons-protocol.csv`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tools.protocol import WORK, Measured, Stages, accuracies, best, each, wiseft, write_results

from wiseft.study.config.paths import glyphs_folder, manifest_path

RATES = {
    ("icons", "end-to-end__icons"): (3e-4, 6e-4, 1e-3, 3e-3, 6e-3),
    ("icons", "linear-classifier__icons"): (3e-3, 1e-2, 3e-2),
    ("icons", "lora__icons"): (1e-3, 3e-3, 1e-2),
    ("icons-vendors", "end-to-end__icons-vendors"): (3e-4, 6e-4, 1e-3, 3e-3, 6e-3),
    ("icons-vendors", "linear-classifier__icons-vendors"): (3e-3, 1e-2, 3e-2),
}
RESULTS = Path("docs/icons-protocol.csv")


def make_theta_0(stages: Stages, seed: int) -> Path:
    """Pre-train with a seed, build the zero-shot head, and return theta_0."""
    entry = stages.entry
    assert entry.pretrain is not None
    folder = WORK / "icons" / f"{entry.name}-s{seed}"
    weights = folder / "weights.safetensors"
    theta_0 = folder / stages.reference / "theta_0.safetensors"
    wiseft(
        weights,
        *("pretrain", "--glyphs", glyphs_folder(entry.name) / "glyphs.safetensors"),
        *("--architecture", stages.catalogue.architecture_path(entry)),
        *("--preprocessing", entry.preprocessing.model_dump_json()),
        *("--settings", entry.pretrain.model_dump_json(), "--seed", seed),
        *("--state", folder / "state", "--weights", weights, "--curve", folder / "pretrain.csv"),
    )
    prompts = json.dumps(stages.catalogue.prompts("icons").ready)
    named = ("--dataset", manifest_path(stages.reference), "--prompts", prompts)
    wiseft(theta_0, "zeroshot", "--weights", weights, *named, "--theta-0", theta_0)
    return theta_0


def main() -> None:
    """Measure every curve of alphas on held-out icons, for every method, rate and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="icons-rn")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    stages = {ref: Stages(Path(), f"{arguments.model}-s0", ref) for ref, _ in RATES}
    starts = {  # one after another: the second reference takes the first one's weights
        (ref, seed): make_theta_0(stages[ref], seed) for seed in arguments.seeds for ref in stages
    }

    def measure(job: tuple[str, str, float, int]) -> list[Measured]:
        ref, method, rate, seed = job
        theta_0 = starts[ref, seed]
        theta_1 = stages[ref].theta_1(theta_0, method, rate, seed)
        found = accuracies(stages[ref].evaluate(theta_1, [ref], theta_0), ref)
        return [
            Measured(f"rate, {ref}, {method}", f"{rate:g}", seed, f"held-out {ref} {alpha}", value)
            for alpha, value in found.items()
        ]

    jobs = [
        (ref, method, rate, seed)
        for (ref, method), rates in RATES.items()
        for rate in rates
        for seed in arguments.seeds
    ]
    rows = each(measure, jobs)
    for ref, method in RATES:
        ends = [row for row in rows if row.choice == f"rate, {ref}, {method}"]
        print(ref, method, best(row for row in ends if row.on.endswith("1.000")))
    if arguments.model == "icons-rn":
        write_results(rows, RESULTS)


if __name__ == "__main__":
    main()
