# An experiment without runs: its tables hold numbers of the paper, and of other models if their
# files are here (`wiseft testbed`). Nothing is computed that takes time.
rule published:
    input:
        measured=measured_tables(),
        others=other_models(),
        code=modules(
            "published/*.py",
            "published/*.csv",
            "tabulate/published.py",
            "tabulate/schema.py",
            "cli/paper.py",
        ),
    output:
        **reported_tables(["table_csv", "table_parquet"]),
    log:
        f"logs/published/{NAME}.log",
    benchmark:
        f"logs/benchmarks/published/{NAME}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["tabulate"],
        published=published_settings(),
        tables=repeat("--table", measured_tables()),
    message:
        "published: the paper's numbers of {NAME}"
    shell:
        "wiseft published {params.published} {params.tables} --table-csv {output.table_csv:q}"
        " --table-parquet {output.table_parquet:q} > {log:q} 2>&1"


localrules:
    published,
