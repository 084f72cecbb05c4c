# Figures and summary from data/tables alone: after `dvc pull data/tables`, in a fresh clone,
# snakemake -s workflow/figures.smk --cores 1
# No rule here makes a table, so nothing else can run; but numbers of the paper alone
# (--config experiment=paper) come with the package, and become a table here.


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/statistics.smk"
include: "rules/targets.smk"


rule all:
    input:
        figure_files(*EXPERIMENT.figures),
        [path for path in summary_files() if path.suffix == ".md"],
        page_files(),
        paths.provenance_path(NAME),
        paper_table_files(),
    message:
        "all: the figures of {NAME} are complete"


if PUBLISHED_ONLY:

    include: "rules/published.smk"
    include: "rules/effective_robustness.smk"


include: "rules/figures.smk"
include: "rules/paper.smk"


localrules:
    all,
