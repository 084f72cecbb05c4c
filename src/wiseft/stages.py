"""The version of each stage.

A version is a parameter of the stage's rules and part of the identity of what it writes.
Raise it when a change alters numbers: then exactly what depends on the stage reruns.
"""

VERSION: dict[str, int] = {
    "data": 1,
    "pretrain": 2,
    "weights": 1,
    "zeroshot": 1,
    "finetune": 1,
    "combine": 1,
    "evaluate": 1,
    "diversity": 1,
    "tabulate": 2,
    "figures": 1,
}
