# The tables are plain paths here: who makes them is none of these rules' business.
rule figure:
    input:
        table=TABLES["table_parquet"],
        code=modules("figures/*.py", *TABLE_READERS, "style/*", "cli/figures.py"),
    output:
        pdf=paths.figure_path(NAME, "{figure}", "pdf"),
        png=report(
            paths.figure_path(NAME, "{figure}", "png"),
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        svg=paths.figure_path(NAME, "{figure}", "svg"),
    log:
        f"logs/figure/{NAME}/{{figure}}.log",
    benchmark:
        f"logs/benchmarks/figure/{NAME}/{{figure}}.tsv"
    wildcard_constraints:
        figure=one_of(EXPERIMENT.figures),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["figures"],
        draw=lambda w: EXPERIMENT.figures[w.figure].draw,
        options=lambda w: figure_options(w.figure),
    message:
        "figure: {wildcards.figure}"
    shell:
        "wiseft figure {wildcards.figure:q} --draw {params.draw:q} --table {input.table:q}"
        " --options {params.options:q} --output {output.pdf:q} --output {output.png:q}"
        " --output {output.svg:q} > {log:q} 2>&1"


rule report:
    input:
        table=TABLES["table_parquet"],
        comparisons=TABLES["comparisons"],
        selection=TABLES["selection"],
        fits=TABLES["fits"],
        code=modules("figures/*.py", *TABLE_READERS, "cli/figures.py"),
    output:
        summary=report(
            paths.summary_path(NAME),
            caption="../report/summary.rst",
            category="Summary",
        ),
    log:
        f"logs/report/{NAME}.log",
    benchmark:
        f"logs/benchmarks/report/{NAME}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["figures"],
        settings=statistics(),
        experiment=NAME,
    message:
        "report: the summary of {NAME}"
    shell:
        "wiseft report --table {input.table:q} --comparisons {input.comparisons:q}"
        " --selection {input.selection:q} --fits {input.fits:q} --config {params.settings:q}"
        " --experiment {params.experiment:q} --output {output.summary:q} > {log:q} 2>&1"


localrules:
    figure,
    report,
