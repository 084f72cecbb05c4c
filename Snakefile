# One experiment an invocation: snakemake --cores all --config experiment=NAME
# What there is to run: config/experiments. How to run it: profiles/default, profiles/slurm.


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/targets.smk"


rule all:
    input:
        experiment_files() if RUNS else dataset_files(),
    message:
        "all: {NAME} is complete"


include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/zeroshot.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/combine.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tabulate.smk"
include: "workflow/rules/figures.smk"


rule data:
    input:
        dataset_files(),
    message:
        "data: the datasets of {NAME} are prepared"


rule tables:
    input:
        TABLES.values(),
    message:
        "tables: those of {NAME} are there"


localrules:
    all,
    data,
    tables,


# Once, and also in a dry run: what only the user can bring.
if workflow.is_main_process:
    for sentence in missing_data():
        logger.warning(sentence)
