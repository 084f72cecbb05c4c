rule tabulate:
    input:
        metrics=evaluated(paths.metrics_path),
        predictions=evaluated(paths.predictions_path),
        diversity=diversity_files(),
        others=other_models(),
        code=modules("tabulate/*.py", "cli/tabulate.py"),
    output:
        **reported_tables(TABLES),
    log:
        f"logs/tabulate/{NAME}.log",
    benchmark:
        f"logs/benchmarks/tabulate/{NAME}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=VERSION["tabulate"],
        settings=statistics(),
        published=published_settings(),
        diversity=repeat("--diversity", diversity_files()),
        experiment=NAME,
    message:
        "tabulate: {NAME}"
    shell:
        "wiseft tabulate --experiment {params.experiment:q} --settings {params.settings:q}"
        " --table-csv {output.table_csv:q} --table-parquet {output.table_parquet:q}"
        " --comparisons {output.comparisons:q} --selection {output.selection:q}"
        " --fits {output.fits:q} {params.published} {params.diversity} {input.metrics:q} {input.predictions:q} > {log:q} 2>&1"


# A few numbers of the table, for `dvc metrics diff` between versions.
rule headline:
    input:
        table=TABLES["table_parquet"],
        code=modules("figures/headline.py", "figures/select.py", "cli/figures.py"),
    output:
        metrics=paths.table_path(NAME, "metrics.json"),
    log:
        f"logs/headline/{NAME}.log",
    benchmark:
        f"logs/benchmarks/headline/{NAME}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["figures"],
    message:
        "headline: {NAME}"
    shell:
        "wiseft headline --table {input.table:q} --json {output.metrics:q} > {log:q} 2>&1"


localrules:
    tabulate,
    headline,
