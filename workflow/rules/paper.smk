# The paper's tables as text, from the tidy table alone. Whoever wants them of several experiments at
# once: wiseft paper-tables --table data/tables/A.parquet --table data/tables/B.parquet --output-dir ...
rule paper_tables:
    input:
        table=FILES.tables["table_parquet"],
        sum=HANDED.beside(FILES.sums, [FILES.tables["table_parquet"]]),
        code=local(CODE.behind("paper-tables")),
    output:
        report=report(
            paths.paper_tables_folder(NAME) / "README.md",
            caption="../report/paper_tables.rst",
            category="Tables of the paper",
            labels={"table": "overview and differences"},
        ),
        tables=[
            report(
                paths.paper_tables_folder(NAME) / f"table-{number}.csv",
                caption="../report/paper_tables.rst",
                category="Tables of the paper",
                labels={"table": str(number)},
            )
            for number in FILES.paper_table_numbers() or range(1, 14)
        ],
        texts=[
            paths.paper_tables_folder(NAME) / f"table-{number}.{suffix}"
            for number in FILES.paper_table_numbers() or range(1, 14)
            for suffix in ("md", "tex")
        ],
        cells=paths.paper_tables_folder(NAME) / "cells.csv",
    log:
        f"logs/paper_tables/{NAME}.log",
    benchmark:
        f"logs/benchmarks/paper_tables/{NAME}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("paper_tables"),
    params:
        version=VERSION["figures"],
        folder=lambda w, output: str(Path(output.report).parent),
        numbers=repeat("--number", FILES.paper_table_numbers()),
    message:
        f"paper_tables: {NAME}, beside the paper"
    shell:
        "wiseft paper-tables --table {input.table:q} {params.numbers}"
        " --output-dir {params.folder:q} > {log:q} 2>&1"


localrules:
    paper_tables,
