# `wiseft sweep --evaluate` as jobs, one an alpha; docs/own-evaluation.md. In any folder:
# snakemake -s CLONE/workflow/sweep.smk --configfile sweep.yaml --cores 4
# The results of an alpha are kept in OUT/.work by what they depend on, so an empty file stands for
# them here: an alpha that is there under another file's name costs no evaluation.

import shlex
import sys
from pathlib import Path

from wiseft.base.alphas import ALPHA_REGEX
from wiseft.errors import WiseftError
from wiseft.tool.own_jobs import OwnSweep

try:
    SWEEP = OwnSweep.read(config)
except WiseftError as error:
    raise WorkflowError(str(error)) from None

OUT = SWEEP.output
POINT = f"{OUT}/.work/alphas/{{alpha}}"

# The commands, and a `python` of the evaluation, are those of the Python that runs the workflow.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


wildcard_constraints:
    alpha=ALPHA_REGEX,


rule sweep:
    input:
        zero_shot=SWEEP.zero_shot,
        fine_tuned=SWEEP.fine_tuned,
        files=SWEEP.files,
        points=expand(POINT, alpha=SWEEP.grid),
    output:
        record=f"{OUT}/sweep.json",
        page=f"{OUT}/index.html",
        tables=expand(f"{OUT}/table.{{kind}}", kind=["csv", "parquet", "json"]),
        gains=f"{OUT}/gains.csv",
        curve=expand(f"{OUT}/curve.{{kind}}", kind=["png", "pdf", "svg"]),
        predictions=f"{OUT}/predictions.parquet",
        model=directory(f"{OUT}/model"),
    log:
        "logs/sweep/sweep.log",
    conda:
        "../environment.yml"
    params:
        folder=lambda w: OUT,
        evaluate=lambda w: SWEEP.evaluate,
        alphas=",".join(SWEEP.grid),
        sets=SWEEP.options("held_out", "reference", "shift", "keep", "metric"),
        others=SWEEP.options("alpha", "weights", "seed"),
    message:
        "sweep: alpha is chosen, tables and model are written"
    shell:
        "wiseft sweep {input.zero_shot:q} {input.fine_tuned:q} --evaluate {params.evaluate:q}"
        " --alphas {params.alphas} {params.sets} {params.others} -o {params.folder:q}"
        " > {log:q} 2>&1"


rule point:
    input:
        zero_shot=SWEEP.zero_shot,
        fine_tuned=SWEEP.fine_tuned,
        files=SWEEP.files,
    output:
        touch(POINT),
    log:
        "logs/sweep/{alpha}.log",
    conda:
        "../environment.yml"
    threads: SWEEP.threads
    resources:
        **SWEEP.resources,
    params:
        folder=lambda w: OUT,
        evaluate=lambda w: SWEEP.evaluate,
        others=SWEEP.options("weights", "device"),
    message:
        "point: alpha {wildcards.alpha}"
    shell:
        "wiseft sweep-point {input.zero_shot:q} {input.fine_tuned:q} --alpha {wildcards.alpha}"
        " --evaluate {params.evaluate:q} {params.others} --threads {threads} -o {params.folder:q}"
        " > {log:q} 2>&1"
