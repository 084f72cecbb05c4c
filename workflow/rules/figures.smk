TABLE_SUMS = HANDED.beside(FILES.sums, [FILES.tables["table_parquet"], *FILES.zero_shot_tables()])


# The tables are plain paths here: who makes them is none of these rules' business.
rule figure:
    input:
        table=FILES.tables["table_parquet"],
        zero_shot=FILES.zero_shot_tables(),
        sums=TABLE_SUMS,
        file=lambda w: local(FILES.figure_files(w.figure) if w.figure in FILES.drawn() else []),
        code=lambda w: local(CODE.behind("figure", EXPERIMENT.figures[w.figure].draw)),
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
    resources:
        **RESOURCES.of("figure"),
    params:
        version=VERSION["figures"],
        draw=lambda w: EXPERIMENT.figures[w.figure].draw,
        about=lambda w: TOLD.drawing_text(w.figure),
        options=lambda w: TOLD.figure(w.figure),
        context=TOLD.figure_context(),
        zero_shot=HANDED.given("--zero-shot", "zero_shot", FILES.zero_shot_tables()),
        caption=lambda w: EXPERIMENT.figures[w.figure].caption,
    message:
        "figure: {wildcards.figure}"
    shell:
        "wiseft figure {wildcards.figure:q} --draw {params.draw:q} --table {input.table:q}"
        " {params.zero_shot} --options {params.options:q} --context {params.context:q} --output {output.pdf:q}"
        " --output {output.png:q} --output {output.svg:q} > {log:q} 2>&1"


# One file that needs neither a server nor the network; it carries the library that draws it.
rule page:
    input:
        table=FILES.tables["table_parquet"],
        sums=TABLE_SUMS,
        comparisons=[path for key, path in FILES.tabulated.items() if key == "comparisons"],
        tuning=FILES.tuning(),
        code=local(CODE.behind("page")),
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
    resources:
        **RESOURCES.of("page"),
    params:
        version=VERSION["figures"],
        settings=TOLD.page(),
        comparisons=lambda w, input: repeat("--comparisons", input.comparisons),
        tuning=lambda w, input: repeat("--tuning", input.tuning),
        links=TOLD.links(),
        beside=TOLD.beside("index.html"),
    message:
        f"page: {NAME}"
    shell:
        "wiseft page --table {input.table:q} {params.comparisons} {params.tuning}"
        " --settings {params.settings:q} {params.links} {params.beside}"
        " --output {output.page:q} > {log:q} 2>&1"


# For the report: the settings, the versions, and where each number is from.
rule provenance:
    input:
        table=FILES.tables["table_parquet"],
        zero_shot=FILES.zero_shot_tables(),
        sums=TABLE_SUMS,
        code=local(CODE.behind("provenance")),
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
    resources:
        **RESOURCES.of("provenance"),
    params:
        version=VERSION["figures"],
        settings=TOLD.record(),
        zero_shot=HANDED.given("--zero-shot", "zero_shot", FILES.zero_shot_tables()),
        beside=TOLD.beside("provenance.html"),
    message:
        f"provenance: {NAME}"
    shell:
        "wiseft provenance --table {input.table:q} --settings {params.settings:q}"
        " {params.zero_shot} {params.beside} --output {output.page:q} > {log:q} 2>&1"


rule report:
    input:
        table=FILES.tables["table_parquet"],
        comparisons=FILES.tables["comparisons"],
        selection=FILES.tables["selection"],
        fits=FILES.tables["fits"],
        effective=FILES.effective(),
        sums=HANDED.beside(FILES.sums, [*FILES.tables.values(), *FILES.effective()]),
        tuning=FILES.tuning(),
        code=local(CODE.behind("report")),
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
    resources:
        **RESOURCES.of("report"),
    params:
        version=VERSION["figures"],
        settings=TOLD.statistics(),
        experiment=NAME,
        effective=HANDED.given("--effective-robustness", "effective", FILES.effective()),
        tuning=HANDED.given("--tuning", "tuning", FILES.tuning()),
        beside=TOLD.beside("summary.md"),
    message:
        f"report: the summary of {NAME}"
    shell:
        "wiseft report --table {input.table:q} --comparisons {input.comparisons:q}"
        " --selection {input.selection:q} --fits {input.fits:q} {params.effective} {params.tuning}"
        " --config {params.settings:q}"
        " --experiment {params.experiment:q} {params.beside} --output {output.summary:q} > {log:q} 2>&1"


localrules:
    figure,
    page,
    provenance,
    report,
