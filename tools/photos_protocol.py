"""The rates of the experiment `photos`, chosen again (docs/photos.md, Protocol).

    python -m tools.photos_protocol      # about 20 CPU minutes; a killed run goes on

Fine-tuning seed 10, which is never reported; held-out photographs of the reference side, never a
test image. The dataset and the weights must be there (`make run EXPERIMENT=photos` makes them; the
commands are `wiseft data prepare cifar10-upper` and `wiseft weights efficientnet-lite0`). Work lies
in `.wiseft/protocol/photos`; what was measured is written to `docs/photos-protocol.csv`.
"""

from __future__ import annotations

from pathlib import Path

from tools.protocol import WORK, Measured, Stages, accuracies, best, each, wiseft, write_results

from wiseft.study.config.paths import manifest_path, weights_path

MODEL, REFERENCE = "efficientnet-lite0", "cifar10-upper"
SEED = 10
RATES = {
    "end-to-end__photos": (1e-4, 3e-4, 1e-3),
    "end-to-end__photos-shots-100": (1e-4, 3e-4, 1e-3),
    "end-to-end__photos-shots-30": (1e-4, 3e-4, 1e-3),
    "linear-classifier__photos": (3e-4, 1e-3, 3e-3, 1e-2),
}
RESULTS = Path("docs/photos-protocol.csv")


def make_theta_0(stages: Stages) -> Path:
    """Build the head of rows, and return theta_0."""
    assert stages.entry.label_map is not None
    theta_0 = WORK / "photos" / "theta_0.safetensors"
    label_map = stages.catalogue.folder / "models" / stages.entry.label_map
    wiseft(
        theta_0,
        *("zeroshot", "--weights", weights_path(MODEL), "--dataset", manifest_path(REFERENCE)),
        *("--label-map", label_map, "--theta-0", theta_0),
    )
    return theta_0


def main() -> None:
    """Measure the fine-tuned end of every method at every rate, the longest trainings first."""
    stages = Stages(Path(), MODEL, REFERENCE)
    theta_0 = make_theta_0(stages)

    def measure(job: tuple[str, float]) -> list[Measured]:
        method, rate = job
        theta_1 = stages.theta_1(theta_0, method, rate, SEED)
        value = accuracies(stages.evaluate(theta_1, [REFERENCE]), REFERENCE)["1.000"]
        return [Measured(f"rate, {method}", f"{rate:g}", SEED, f"held-out {REFERENCE}", value)]

    rows = each(measure, [(method, rate) for method, rates in RATES.items() for rate in rates])
    for method in RATES:
        chosen = best(row for row in rows if row.choice == f"rate, {method}")
        print(f"chosen: {chosen}")
    write_results(rows, RESULTS)


if __name__ == "__main__":
    main()
