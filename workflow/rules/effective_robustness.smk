# How far every point lies above the lines of models that saw the reference alone.
rule effective_robustness:
    input:
        table=FILES.tables["table_parquet"],
        sum=HANDED.beside(FILES.sums, [FILES.tables["table_parquet"]]),
        code=local(CODE.behind("effective-robustness")),
    output:
        rows=reported("effective robustness", paths.table_path(NAME, "effective-robustness.csv")),
        sum=FILES.sums(paths.table_path(NAME, "effective-robustness.csv")),
    log:
        f"logs/effective_robustness/{NAME}.log",
    benchmark:
        f"logs/benchmarks/effective_robustness/{NAME}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("effective_robustness"),
    params:
        version=VERSION["tabulate"],
        settings=TOLD.statistics(),
        other_models="--other-models" if FILES.published.other_models else "",
    message:
        f"effective_robustness: {NAME}"
    shell:
        "wiseft effective-robustness --table {input.table:q} --settings {params.settings:q}"
        " --output {output.rows:q} {params.other_models} > {log:q} 2>&1"


localrules:
    effective_robustness,
