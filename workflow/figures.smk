# Figures and summary from tables alone, those in data/tables or else in published/tables:
# snakemake -s workflow/figures.smk --cores 1
# No rule here makes a table, so nothing else can run; but numbers of the paper alone
# (--config experiment=paper) come with the package, and become a table here.


report: "report/workflow.rst"


include: "rules/common.smk"


container: TARGETS.settings.container


# Of a clone without data/, the copies of published tables that git holds.
logger.warning(FILES.take_copies())


rule all:
    input:
        FILES.wanted("figures"),
    message:
        f"all: the figures of {NAME} are complete"


if TARGETS.published_only:

    include: "rules/published.smk"
    include: "rules/effective_robustness.smk"


include: "rules/figures.smk"
include: "rules/paper.smk"


localrules:
    all,
