# One job evaluates one run on one suite of datasets, all alphas in one pass over the images.
# The outputs are updated: when the grid grows, only the new alphas are computed.
for suite, members in SUITES.items():

    rule:
        name:
            f"evaluate_{suite}"
        input:
            theta_0=theta_0_of,
            theta_1=end_of,
            manifests=manifests(members),
            likes=manifests(like for name in members for like in likes_of(ENTRIES[name])),
            caches=lambda w, members=members: caches_of(resident(w), members),
        output:
            metrics=update([paths.metrics_path(RUN, "{seed}", name) for name in members]),
            predictions=update([paths.predictions_path(RUN, "{seed}", name) for name in members]),
            logits=update(logits_files(RUN, "{seed}", members)),
        log:
            f"logs/evaluate/{RUN}/seed-{{seed}}/{suite}.log",
        benchmark:
            f"logs/benchmarks/evaluate/{RUN}/seed-{{seed}}/{suite}.tsv"
        wildcard_constraints:
            model=one_of(EXPERIMENT.models + BASELINE_MODELS),
            method=one_of(METHODS + BASELINES + ZERO_SHOT),
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=120,
            gpu=gpus(),
            device=SETTINGS.device,
        params:
            version=VERSION["evaluate"],
            content=data_id(*members),
            evaluation=evaluation_of(members),
            alphas=lambda w: ",".join(alphas_of(w)),
            start=lambda w, input: repeat("--theta-0", input.theta_0),
            manifests=lambda w, input: " ".join(
                filter(None, [repeat("--dataset", input.manifests), repeat("--like", input.likes)])
            ),
            folder=str(paths.run_folder(RUN, "{seed}") / "evaluate"),
            about=identity_of,
            logits=logits_of,
            combinations=combinations_of,
        message:
            "evaluate: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}"
        shell:
            "wiseft evaluate {params.start} --theta-1 {input.theta_1:q} --alphas {params.alphas}"
            " {params.manifests} --evaluate {params.evaluation:q} --output-dir {params.folder:q}"
            " {params.about} {params.logits} --combinations {params.combinations}"
            " --device {resources.device} --threads {threads} > {log:q} 2>&1"
