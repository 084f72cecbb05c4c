"""The version of each stage.

A version is a parameter of the stage's rules and part of the identity of what it writes.
Raise it when a change alters numbers: then exactly what depends on the stage reruns.
"""

VERSION: dict[str, int] = {
    "data": 2,
    "pretrain": 2,
    "weights": 2,
    "zeroshot": 2,
    "finetune": 2,
    "combine": 2,
    "evaluate": 2,
    "diversity": 1,
    "tabulate": 3,
    "figures": 1,
}
