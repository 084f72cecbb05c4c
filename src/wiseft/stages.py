"""The version of each stage.

A version is a parameter of the stage's rules and part of the identity of what it writes.
Raise it when a change alters numbers: then exactly what depends on the stage reruns.
"""

VERSION: dict[str, int] = {
    "data": 2,
    "pretrain": 1,
    "weights": 2,
    "zeroshot": 1,
    "finetune": 1,
    "combine": 1,
    "evaluate": 1,
    "diversity": 1,
    "tabulate": 1,
    "figures": 1,
}
