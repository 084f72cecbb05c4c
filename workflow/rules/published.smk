# An experiment without runs: its tables hold numbers of the paper, and of other models if their
# files are here (`wiseft testbed`). Nothing is computed that takes time.
rule published:
    input:
        measured=FILES.measured_tables(),
        sums=HANDED.beside(FILES.sums, FILES.measured_tables()),
        others=local(FILES.other_models()),
        code=local(CODE.behind("published")),
    output:
        **{name: reported(name, path) for name, path in FILES.tabulated.items()},
        sums=FILES.sums(*FILES.tabulated.values()),
    log:
        f"logs/published/{NAME}.log",
    benchmark:
        f"logs/benchmarks/published/{NAME}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("published"),
    params:
        version=VERSION["tabulate"],
        published=TOLD.published(),
        tables=HANDED.given("--table", "measured", FILES.measured_tables()),
    message:
        f"published: the paper's numbers of {NAME}"
    shell:
        "wiseft published {params.published} {params.tables} --table-csv {output.table_csv:q}"
        " --table-parquet {output.table_parquet:q} > {log:q} 2>&1"


localrules:
    published,
