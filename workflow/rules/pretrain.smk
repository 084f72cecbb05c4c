rule glyphs:
    input:
        packages=lambda w: DATA.packages(DATA.model_packages(w.entry)),
    output:
        glyphs=DATA.glyphs("{entry}"),
    log:
        "logs/glyphs/{entry}.log",
    benchmark:
        "logs/benchmarks/glyphs/{entry}.tsv"
    wildcard_constraints:
        entry=one_of(TARGETS.entry(model).name for model in TARGETS.pretrained),
    priority: 100
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("glyphs"),
    params:
        version=VERSION["pretrain"],
        settings=lambda w: TOLD.glyphs(w.entry),
        packages=lambda w, input: repeat("--package", input.packages),
    message:
        "glyphs: typefaces and pen strokes for {wildcards.entry}"
    shell:
        "wiseft glyphs --settings {params.settings:q} {params.packages}"
        " --output {output.glyphs:q} > {log:q} 2>&1"


# Everything but the baselines waits for this job, so it goes first.
rule pretrain:
    input:
        glyphs=lambda w: DATA.glyphs(TARGETS.entry(w.model).name),
        architecture=lambda w: local(TARGETS.architecture(w.model)),
    output:
        weights=paths.weights_path("{model}"),
        curve=paths.pretrain_curve_path("{model}"),
    log:
        "logs/pretrain/{model}.log",
    benchmark:
        "logs/benchmarks/pretrain/{model}.tsv"
    wildcard_constraints:
        model=one_of(TARGETS.pretrained),
    priority: 100
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **RESOURCES.of("pretrain"),
    params:
        version=VERSION["pretrain"],
        settings=lambda w: TOLD.pretrain(w.model),
        preprocessing=lambda w: TOLD.preprocessing(w.model),
        seed=lambda w: TARGETS.catalogue.model(w.model)[1],
        state=str(paths.state_path("pretrain", "{model}")),
    message:
        "pretrain: {wildcards.model}"
    shell:
        "wiseft pretrain --glyphs {input.glyphs:q} --architecture {input.architecture:q}"
        " --preprocessing {params.preprocessing:q} --settings {params.settings:q}"
        " --seed {params.seed} --state {params.state:q} --weights {output.weights:q}"
        " --curve {output.curve:q} --threads {threads} > {log:q} 2>&1"


# What is trained on, to be looked at: a wrong caption is seen at once, and in no curve.
rule pretrain_samples:
    input:
        glyphs=[DATA.glyphs(TARGETS.entry(m).name) for m in TARGETS.pretrained[:1]],
    output:
        pdf=paths.figure_path(NAME, "pretrain-samples", "pdf"),
        png=report(
            paths.figure_path(NAME, "pretrain-samples", "png"),
            caption="../report/pretrain-samples.rst",
            category="Data",
            labels={"figure": "pretrain-samples"},
        ),
        svg=paths.figure_path(NAME, "pretrain-samples", "svg"),
    log:
        f"logs/pretrain_samples/{NAME}.log",
    benchmark:
        f"logs/benchmarks/pretrain_samples/{NAME}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("pretrain_samples"),
    params:
        version=VERSION["pretrain"],
        settings=[TOLD.pretrain(m) for m in TARGETS.pretrained[:1]],
        size=[TARGETS.entry(m).preprocessing.size for m in TARGETS.pretrained[:1]],
    message:
        "pretrain_samples: what pre-training sees, with its captions"
    shell:
        "wiseft pretrain-samples --glyphs {input.glyphs:q} --settings {params.settings:q}"
        " --size {params.size} --output {output.pdf:q} --output {output.png:q}"
        " --output {output.svg:q} > {log:q} 2>&1"


localrules:
    pretrain_samples,
