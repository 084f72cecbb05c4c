# Of one recipe at several settings: which held-out images admit, and what alpha gains at each.
rule tuning:
    input:
        metrics=FILES.tuned(paths.metrics_path),
        predictions=FILES.tuned(paths.predictions_path),
        table=FILES.tables["table_parquet"],
        comparisons=FILES.tables["comparisons"],
        code=CODE.behind("tuning"),
    output:
        rows=reported("tuning", paths.tuning_path(NAME)),
    log:
        f"logs/tuning/{NAME}.log",
    benchmark:
        f"logs/benchmarks/tuning/{NAME}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("tuning"),
    params:
        version=VERSION["tabulate"],
        settings=TOLD.statistics(),
        tuning=TOLD.tuning(),
    message:
        "tuning: {NAME}"
    shell:
        "wiseft tuning --table {input.table:q} --comparisons {input.comparisons:q}"
        " --settings {params.settings:q} --tuning {params.tuning:q} --output {output.rows:q}"
        " {input.metrics:q} {input.predictions:q} > {log:q} 2>&1"


localrules:
    tuning,
