# One job evaluates one run on one suite of datasets, all alphas in one pass over the images.
# The outputs are updated: when the grid grows, only the new alphas are computed. Experiments share
# them: what an evaluation is told is not compared with the last run's (such parameters take inputs
# or outputs), but what the files hold when it is done.
for suite, members in DATA.evaluations.items():

    rule:
        name:
            f"evaluate_{suite}"
        input:
            theta_0=lambda w, suite=suite: FILES.theta_0(w.model, w.method, suite),
            theta_1=lambda w, suite=suite: FILES.theta_1(w.model, w.method, w.seed, suite),
            head=FILES.head("{model}", members),
            manifests=DATA.manifests(members),
            images=HANDED.beside(DATA.split_files, members),
            likes=DATA.manifests(DATA.likes(members)),
            caches=(
                (
                    lambda w, members=members: DATA.caches(
                        TARGETS.resident(w.model, w.method), members
                    )
                )
                if DATA.cached
                else []
            ),
            cached=HANDED.placed(
                lambda w, members=members: HANDED.beside(
                    DATA.cache_files, DATA.caches(TARGETS.resident(w.model, w.method), members)
                ),
                [],
            ),
        output:
            metrics=update(FILES.of_evaluation(paths.metrics_path, RUN, "{seed}", members)),
            predictions=update(FILES.of_evaluation(paths.predictions_path, RUN, "{seed}", members)),
            logits=update(FILES.logits(RUN, "{seed}", members)),
        log:
            f"logs/evaluate/{RUN}/seed-{{seed}}/{suite}.log",
        benchmark:
            f"logs/benchmarks/evaluate/{RUN}/seed-{{seed}}/{suite}.tsv"
        wildcard_constraints:
            model=one_of(EXPERIMENT.models + TARGETS.baseline_models),
            method=one_of(TARGETS.two_ended + TARGETS.baselines),
        retries: RESOURCES.retries(f"evaluate_{suite}") if workflow.is_main_process else 0
        conda:
            "../../environment.yml"
        threads: JOBS.threads("evaluate")
        resources:
            **RESOURCES.of(f"evaluate_{suite}"),
        params:
            version=VERSION["evaluate"],
            content=DATA.content(*members),
            evaluation=TOLD.evaluation(members),
            alphas=lambda w, input: ",".join(TARGETS.alphas(w.method)),
            start=lambda w, input, suite=suite: " ".join(
                [
                    repeat("--theta-0", input.theta_0),
                    "",  # an option that is gone; without its place all would be done again
                    repeat("--head", input.head),
                    TOLD.evaluation_state(w.model, w.method, w.seed, suite),
                ]
            ),
            manifests=lambda w, input: " ".join(
                filter(None, [repeat("--dataset", input.manifests), repeat("--like", input.likes)])
            ),
            folder=HANDED.placed(
                lambda w, output: str(Path(output.metrics[0]).parents[1]),
                str(paths.evaluations_folder(RUN, "{seed}", suite not in DATA.suites)),
            ),
            about=lambda w: TOLD.identity(w.model, w.method, w.seed),
            logits=lambda w, output: TOLD.logits(w.method) if output.logits else "",
            combinations=lambda w, input: TOLD.combinations(w.method),
            stored_alphas=lambda w, members=members: STORED.alphas(
                w.model, w.method, w.seed, members
            ),
            stored_logits=lambda w, members=members: STORED.logits(
                w.model, w.method, w.seed, members
            ),
            stored_combinations=lambda w, members=members: STORED.combinations(
                w.model, w.method, w.seed, members
            ),
        message:
            "evaluate: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}"
        shell:
            "wiseft evaluate {params.start} --theta-1 {input.theta_1:q} --alphas {params.alphas}"
            " {params.manifests} --evaluate {params.evaluation:q} --output-dir {params.folder:q}"
            " {params.about} {params.logits} --combinations {params.combinations}"
            " --device {resources.device} --threads {threads} > {log:q} 2>&1"
