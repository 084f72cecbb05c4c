# The tables are plain paths here: who makes them is none of these rules' business.
rule figure:
    input:
        table=TABLES["table_parquet"],
        code=lambda w: modules(*figure_modules(EXPERIMENT.figures[w.figure].draw)),
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
        about=lambda w: drawing_text(EXPERIMENT.figures[w.figure].draw),
        options=lambda w: json.dumps(EXPERIMENT.figures[w.figure].options),
        context=json.dumps(figure_context(EXPERIMENT, CATALOGUE)),
        caption=lambda w: EXPERIMENT.figures[w.figure].caption,
    message:
        "figure: {wildcards.figure}"
    shell:
        "wiseft figure {wildcards.figure:q} --draw {params.draw:q} --table {input.table:q}"
        " --options {params.options:q} --context {params.context:q} --output {output.pdf:q}"
        " --output {output.png:q} --output {output.svg:q} > {log:q} 2>&1"


# One file that needs neither a server nor the network; it carries the library that draws it.
rule page:
    input:
        table=TABLES["table_parquet"],
        code=modules(*figure_modules(), "figures/page/*", "cli/figures.py"),
    output:
        page=report(
            paths.page_path(NAME),
            caption="../report/page.rst",
            category="Interactive page",
        ),
    log:
        f"logs/page/{NAME}.log",
    benchmark:
        f"logs/benchmarks/page/{NAME}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["figures"],
        settings=json.dumps(page_context(EXPERIMENT, CATALOGUE)),
        links=repeat("--link", table_links()),
    message:
        "page: {NAME}"
    shell:
        "wiseft page --table {input.table:q} --settings {params.settings:q} {params.links}"
        " --output {output.page:q} > {log:q} 2>&1"


# For the report: the settings, the versions, and where each number is from. Figures are not in it,
# because they change no number.
rule provenance:
    input:
        table=TABLES["table_parquet"],
        code=modules(
            "figures/provenance.py", "provenance.py", "tabulate/schema.py", "cli/figures.py"
        ),
    output:
        page=report(
            paths.provenance_path(NAME),
            caption="../report/provenance.rst",
            category="Provenance",
        ),
    log:
        f"logs/provenance/{NAME}.log",
    benchmark:
        f"logs/benchmarks/provenance/{NAME}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["figures"],
        settings=resolved_settings(),
    message:
        "provenance: {NAME}"
    shell:
        "wiseft provenance --table {input.table:q} --settings {params.settings:q}"
        " --output {output.page:q} > {log:q} 2>&1"


rule report:
    input:
        table=TABLES["table_parquet"],
        comparisons=TABLES["comparisons"],
        selection=TABLES["selection"],
        fits=TABLES["fits"],
        effective=effective_files(),
        code=modules(*figure_modules(), "figures/headline.py", "figures/summary.*", "templates.py"),
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
        effective=repeat("--effective-robustness", effective_files()),
    message:
        "report: the summary of {NAME}"
    shell:
        "wiseft report --table {input.table:q} --comparisons {input.comparisons:q}"
        " --selection {input.selection:q} --fits {input.fits:q} {params.effective}"
        " --config {params.settings:q}"
        " --experiment {params.experiment:q} --output {output.summary:q} > {log:q} 2>&1"


localrules:
    figure,
    page,
    provenance,
    report,
