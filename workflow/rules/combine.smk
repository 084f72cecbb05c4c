# A file is written only where somebody wants it; the sweep of the evaluation needs none. Any
# alpha may be asked for: snakemake --cores 1 data/runs/RUN/seed-0/combine/theta_0.350.safetensors
rule interpolate:
    input:
        theta_0=lambda w: TARGETS.theta_0(w.model, w.method),
        theta_1=paths.theta_1_path(RUN, "{seed}"),
    output:
        theta=paths.theta_path(RUN, "{seed}", "{alpha}"),
    log:
        f"logs/interpolate/{RUN}/seed-{{seed}}/{{alpha}}.log",
    benchmark:
        f"logs/benchmarks/interpolate/{RUN}/seed-{{seed}}/{{alpha}}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
        method=one_of(set(TARGETS.methods) - {*TARGETS.independent}),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        version=VERSION["combine"],
    message:
        "interpolate: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}, alpha {wildcards.alpha}"
    shell:
        "wiseft interpolate --theta-0 {input.theta_0:q} --theta-1 {input.theta_1:q}"
        " --alpha {wildcards.alpha} --output {output.theta:q} > {log:q} 2>&1"
