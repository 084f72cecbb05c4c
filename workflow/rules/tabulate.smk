rule tabulate:
    input:
        metrics=FILES.evaluated(paths.metrics_path),
        predictions=FILES.evaluated(paths.predictions_path),
        # Not read. Of a job that lacks one of its outputs, Snakemake does not see what else is new:
        # an evaluation by an experiment without pairs would be left without what this one adds.
        logits=FILES.all_logits(),
        diversity=FILES.diversity(),
        others=local(FILES.other_models()),
        code=local(CODE.behind("tabulate")),
    output:
        **{name: reported(name, path) for name, path in FILES.tables.items()},
        sums=FILES.sums(*FILES.tables.values()),
    log:
        f"logs/tabulate/{NAME}.log",
    benchmark:
        f"logs/benchmarks/tabulate/{NAME}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("tabulate"),
    params:
        version=VERSION["tabulate"],
        settings=TOLD.statistics(),
        published=TOLD.published(),
        diversity=HANDED.given("--diversity", "diversity", FILES.diversity()),
        recipes=TOLD.recipes(),
        tuning=lambda w, output: repeat("--tuning", [output.tuning] if FILES.tuning() else []),
        experiment=NAME,
    message:
        f"tabulate: {NAME}"
    shell:
        "wiseft tabulate --experiment {params.experiment:q} --settings {params.settings:q}"
        " --table-csv {output.table_csv:q} --table-parquet {output.table_parquet:q}"
        " --comparisons {output.comparisons:q} --selection {output.selection:q}"
        " --fits {output.fits:q} --made-with {output.made_with:q} --recipes {params.recipes:q}"
        " {params.published} {params.diversity} {params.tuning} {input.metrics:q} {input.predictions:q} > {log:q} 2>&1"


# A few numbers of the table, for `dvc metrics diff` between versions.
rule headline:
    input:
        table=FILES.tables["table_parquet"],
        sum=HANDED.beside(FILES.sums, [FILES.tables["table_parquet"]]),
        code=local(CODE.behind("headline")),
    output:
        metrics=paths.table_path(NAME, "metrics.json"),
    log:
        f"logs/headline/{NAME}.log",
    benchmark:
        f"logs/benchmarks/headline/{NAME}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("headline"),
    params:
        version=VERSION["figures"],
    message:
        f"headline: {NAME}"
    shell:
        "wiseft headline --table {input.table:q} --json {output.metrics:q} > {log:q} 2>&1"


localrules:
    tabulate,
    headline,
