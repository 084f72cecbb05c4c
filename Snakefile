# One experiment an invocation: snakemake --cores all --config experiment=NAME
# What there is to run: config/experiments. How to run it: profiles/default, profiles/slurm.


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/targets.smk"


rule all:
    input:
        TABLES.values(),
        paths.table_path(NAME, "metrics.json"),
        figure_files("samples", *EXPERIMENT.figures),
        paths.summary_path(NAME),
        model_files(),
        interpolated_files(),
        evaluated(paths.metrics_path),
        evaluated(paths.predictions_path),
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
        [paths.manifest_path(name, ROOT) for name in DATASETS],
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
