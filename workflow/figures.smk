# Figures and summary from data/tables alone: after `dvc pull data/tables`, in a fresh clone,
# snakemake -s workflow/figures.smk --cores 1
# No rule here makes a table, so nothing else can run.


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/targets.smk"


rule all:
    input:
        figure_files(*EXPERIMENT.figures),
        paths.summary_path(NAME),
    message:
        "all: the figures of {NAME} are complete"


include: "rules/figures.smk"


localrules:
    all,
