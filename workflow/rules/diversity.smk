# How differently two models predict: the run's fine-tuned end against `first`, which is its own
# zero-shot end or the fine-tuned end of another method, from stored logits.
for suite, members in SUITES.items():

    rule:
        name:
            f"diversity_{suite}"
        input:
            second=diversity_inputs(members, "{method}"),
            first=lambda w, members=members: first_of(w, members),
            manifests=manifests(members),
            reference=manifests([EXPERIMENT.reference]),
        output:
            measures=[paths.diversity_path(RUN, "{seed}", "{first}", name) for name in members],
        log:
            f"logs/diversity/{RUN}/seed-{{seed}}/{{first}}/{suite}.log",
        benchmark:
            f"logs/benchmarks/diversity/{RUN}/seed-{{seed}}/{{first}}/{suite}.tsv"
        wildcard_constraints:
            model=one_of(EXPERIMENT.models),
            method=one_of(METHODS),
            first=one_of(first for first, _ in EXPERIMENT.pairs),
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            version=VERSION["diversity"],
            content=data_id(*members, EXPERIMENT.reference),
            second=lambda w, input: str(Path(input.second[0]).parents[1]),
            first=lambda w, input: repeat("--first", map(evaluation_folder, input.first[:1])),
            manifests=lambda w, input: repeat("--dataset", input.manifests),
            views=json.dumps(views_of(members)),
            split=EXPERIMENT.test_split,
            folder=lambda w, output: str(Path(output.measures[0]).parent),
        message:
            "diversity: {wildcards.model}, {wildcards.first} and {wildcards.method}, seed {wildcards.seed}"
        shell:
            "wiseft diversity --second {params.second:q} {params.first} {params.manifests}"
            " --reference {input.reference:q} --views {params.views:q} --split {params.split:q}"
            " --output-dir {params.folder:q} > {log:q} 2>&1"
