# One experiment an invocation: snakemake --cores all --config experiment=NAME
# What there is to run: config/experiments. How to run it: profiles/default, profiles/slurm.

import gc
from inspect import isfunction, signature

# What planning makes stays: looking for garbage among it as often as usual takes a tenth of the time.
gc.set_threshold(50_000, 20, 20)


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


container: TARGETS.settings.container


rule all:
    input:
        FILES.wanted(),
    message:
        f"all: {NAME} is complete"


include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/zeroshot.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/combine.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/diversity.smk"
include: f"workflow/rules/{'published' if TARGETS.published_only else 'tabulate'}.smk"
include: "workflow/rules/effective_robustness.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/failures.smk"


rule data:
    input:
        FILES.datasets(),
    message:
        f"data: the datasets of {NAME} are prepared"


rule prefetch:
    input:
        FILES.fetched(),
    message:
        f"prefetch: all that {NAME} needs of a network is here"


rule tables:
    input:
        FILES.table_files(),
    message:
        f"tables: those of {NAME} are there"


localrules:
    all,
    data,
    prefetch,
    tables,


# Planning asks for the signature of each of these functions several times for every job.
for each in workflow.rules:
    for function in filter(isfunction, [*each.input, *each.params]):
        function.__signature__ = signature(function)


# Once, and also in a dry run: what only the user can bring, and where models run.
if workflow.is_main_process:
    for sentence in [*JOBS.notes(), *RESOURCES.notes()]:
        logger.warning(sentence)
