# 3 stage 1 and 4 stage 2, a job per fold. scripts/train.sh goes on from a checkpoint where there is one.


rule stage_1:
    input:
        "done/preprocess.done",
    output:
        touch(f"done/train/{STAGE_1}/fold_{{fold}}.done"),
    log:
        f"logs/train_{STAGE_1}_fold_{{fold}}.log",
    params:
        script=os.path.join(workflow.basedir, "scripts", "train.sh"),
        trainer=STAGE_1,
        model=model_folder(STAGE_1),
        preprocessed=dataset_folder("preprocessed", study["dataset"]),
        device=study["device"],
    threads: threads_of("train")
    resources:
        mem_mb=memory_of("train"),
        runtime=minutes_of("train"),
        **GPU,
    shell:
        "bash {params.script:q} {DATASET} {CONFIGURATION} {wildcards.fold} {params.trainer} {PLANS} {params.device} "
        "{threads} {params.model:q} {params.preprocessed:q} >> {log:q} 2>&1"


# The refiner of a fold learns on maps that every other fold's stage 1 model made.
use rule stage_1 as stage_2 with:
    input:
        expand(f"done/train/{STAGE_1}/fold_{{fold}}.done", fold=FOLDS),
    output:
        touch(f"done/train/{STAGE_2}/fold_{{fold}}.done"),
    log:
        f"logs/train_{STAGE_2}_fold_{{fold}}.log",
    params:
        script=os.path.join(workflow.basedir, "scripts", "train.sh"),
        trainer=STAGE_2,
        model=model_folder(STAGE_2),
        preprocessed=dataset_folder("preprocessed", study["dataset"]),
        device=study["device"],


use rule stage_1 as baseline with:
    output:
        touch(f"done/train/{BASELINE}/fold_{{fold}}.done"),
    log:
        f"logs/train_{BASELINE}_fold_{{fold}}.log",
    params:
        script=os.path.join(workflow.basedir, "scripts", "train.sh"),
        trainer=BASELINE,
        model=model_folder(BASELINE),
        preprocessed=dataset_folder("preprocessed", study["dataset"]),
        device=study["device"],
