# How differently two models predict: the run's fine-tuned end against `first`, which is its own
# zero-shot end or the fine-tuned end of another method, from stored logits.
for suite, members in DATA.suites.items():

    rule:
        name:
            f"diversity_{suite}"
        input:
            second=FILES.compared("{model}", "{method}", "{seed}", members),
            first=lambda w, members=members: FILES.compared(w.model, w.first, w.seed, members),
            manifests=DATA.manifests(members),
            reference=DATA.manifests([TARGETS.reference]),
        output:
            measures=[paths.diversity_path(RUN, "{seed}", "{first}", name) for name in members],
        log:
            f"logs/diversity/{RUN}/seed-{{seed}}/{{first}}/{suite}.log",
        benchmark:
            f"logs/benchmarks/diversity/{RUN}/seed-{{seed}}/{{first}}/{suite}.tsv"
        wildcard_constraints:
            model=one_of(EXPERIMENT.models),
            method=one_of(TARGETS.methods),
            first=one_of(first for first, _ in EXPERIMENT.pairs),
        conda:
            "../../environment.yml"
        resources:
            **RESOURCES.of("diversity"),
        params:
            version=VERSION["diversity"],
            content=DATA.content(*members, TARGETS.reference),
            second=lambda w, input: str(Path(input.second[0]).parents[1]),
            first=lambda w, input: repeat(
                "--first", [Path(path).parents[1] for path in input.first[:1]]
            ),
            manifests=lambda w, input: repeat("--dataset", input.manifests),
            views=TOLD.primary_views(members),
            split=EXPERIMENT.test_split,
            folder=lambda w, output: str(Path(output.measures[0]).parent),
        message:
            "diversity: {wildcards.model}, {wildcards.first} and {wildcards.method}, seed {wildcards.seed}"
        shell:
            "wiseft diversity --second {params.second:q} {params.first} {params.manifests}"
            " --reference {input.reference:q} --views {params.views:q} --split {params.split:q}"
            " --output-dir {params.folder:q} > {log:q} 2>&1"
