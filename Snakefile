# One experiment an invocation: snakemake --cores all --config experiment=NAME
# What there is to run: config/experiments. How to run it: profiles/default, profiles/slurm.


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/targets.smk"


rule all:
    input:
        wanted_files(),
    message:
        "all: {NAME} is complete"


include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/zeroshot.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/combine.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/diversity.smk"
include: f"workflow/rules/{'published' if PUBLISHED_ONLY else 'tabulate'}.smk"
include: "workflow/rules/effective_robustness.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/failures.smk"


rule data:
    input:
        dataset_files(),
    message:
        "data: the datasets of {NAME} are prepared"


rule prefetch:
    input:
        fetched_files(),
    message:
        "prefetch: all that {NAME} needs of a network is here"


rule tables:
    input:
        table_files(),
    message:
        "tables: those of {NAME} are there"


localrules:
    all,
    data,
    prefetch,
    tables,


# Once, and also in a dry run: what only the user can bring, and where models run.
if workflow.is_main_process and RUNS and SETTINGS.device == "auto" and not devices():
    logger.info("There is no GPU on this machine: what runs here runs on the CPU.")
if workflow.is_main_process and not PUBLISHED_ONLY:
    for sentence in missing_data():
        logger.warning(sentence)
