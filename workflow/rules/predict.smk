# 6 predict in parts, any of which may die; join them; 7 post-process; 8 evaluate where there is a truth; report.


def images_of(name):
    given = SETS[name].get("images")
    return os.path.abspath(given) if given else os.path.join(raw_folder(name), "imagesTr")


def reference_of(name):
    given = SETS[name].get("reference")
    if "images" in SETS[name]:
        return os.path.abspath(given) if given else None
    return os.path.join(raw_folder(name), "labelsTr")


def raw_folder(name):
    return dataset_folder("raw", {"id": SETS[name]["id"], "name": name})


def predicted(name):
    return place("predicted", name)


def final_masks(name):
    """The masks that count: rules of ours are applied in prediction, the stock command's in a step of its own."""
    return place("postprocessed", name) if study["postprocessing"] == "stock" else predicted(name)


def before_prediction(wildcards):
    yield "done/calibrate.done"
    if study["postprocessing"] == "fitted":
        yield "done/postprocessing_fitted.done"
    if "images" not in SETS[wildcards.set]:
        yield f"done/convert/{wildcards.set}.done"


def predict_command(wildcards):
    words = ["comnet", "predict", "-i", images_of(wildcards.set), "-o", predicted(wildcards.set), "-d", str(DATASET)]
    words += ["-tr", STAGE_2, "-f", *map(str, FOLDS), "-device", study["device"], "--continue_prediction"]
    words += ["-num_parts", str(SETS[wildcards.set]["parts"]), "-part_id", wildcards.part]
    if study["postprocessing"] == "fitted":
        words += ["--postprocessing", place("postprocessing", "comnet_postprocessing.json")]
    if not study["mirroring"]:
        words.append("--disable_tta")
    return words + SETS[wildcards.set]["flags"]


def failures_of(wildcards):
    parts = SETS[wildcards.set]["parts"]
    suffix = f"_part{wildcards.part}of{parts}" if parts > 1 else ""
    return os.path.join(predicted(wildcards.set), f"failures{suffix}.json")


rule predict:
    input:
        before_prediction,
    output:
        touch("done/predict/{set}/part_{part}.done"),
    log:
        "logs/predict_{set}_part_{part}.log",
    params:
        command=predict_command,
        failures=failures_of,
        # A patient who cannot be predicted ends the command with 1, after all others are done.
        accept=lambda wildcards: "true" if SETS[wildcards.set]["allow_failed"] else "false",
    threads: threads_of("predict")
    resources:
        mem_mb=memory_of("predict"),
        runtime=minutes_of("predict"),
        **GPU,
    shell:
        "rm -f {params.failures:q}; "
        "{params.command:q} >> {log:q} 2>&1 || {{ [ $? -eq 1 ] && {params.accept} && [ -f {params.failures:q} ]; }}"


rule merge_parts:
    input:
        lambda wildcards: expand("done/predict/{{set}}/part_{part}.done", part=range(SETS[wildcards.set]["parts"])),
    output:
        touch("done/merge/{set}.done"),
    log:
        "logs/merge_{set}.log",
    params:
        folder=lambda wildcards: predicted(wildcards.set),
        images=lambda wildcards: images_of(wildcards.set),
        accept=lambda wildcards: "--allow-failed" if SETS[wildcards.set]["allow_failed"] else "",
    resources:
        mem_mb=memory_of("score"),
        runtime=minutes_of("score"),
    shell:
        "comnet merge-parts {params.folder:q} -i {params.images:q} {params.accept} >> {log:q} 2>&1"


rule apply_postprocessing:
    input:
        "done/merge/{set}.done",
        "done/postprocessing_stock.done",
    output:
        touch("done/postprocess/{set}.done"),
    log:
        "logs/postprocess_{set}.log",
    params:
        masks=lambda wildcards: predicted(wildcards.set),
        out=lambda wildcards: final_masks(wildcards.set),
        found=os.path.join(model_folder(STAGE_2), "crossval_results_folds_" + "_".join(map(str, FOLDS))),
    threads: threads_of("score")
    resources:
        mem_mb=memory_of("score"),
        runtime=minutes_of("score"),
    shell:
        "nnUNetv2_apply_postprocessing -i {params.masks:q} -o {params.out:q} -np {threads} "
        "-pp_pkl_file {params.found:q}/postprocessing.pkl -plans_json {params.found:q}/plans.json >> {log:q} 2>&1"


def masks_are_final(wildcards):
    step = "postprocess" if study["postprocessing"] == "stock" else "merge"
    return f"done/{step}/{wildcards.set}.done"


rule evaluate:
    input:
        masks_are_final,
    output:
        touch("done/evaluate/{set}.done"),
    log:
        "logs/evaluate_{set}.log",
    params:
        masks=lambda wildcards: final_masks(wildcards.set),
        reference=lambda wildcards: reference_of(wildcards.set),
        protocol=study["protocol"],
    threads: threads_of("score")
    resources:
        mem_mb=memory_of("score"),
        runtime=minutes_of("score"),
    shell:
        "comnet evaluate -ref {params.reference:q} -pred {params.masks:q} --protocol {params.protocol} "
        "--jobs {threads} >> {log:q} 2>&1"


def report_command(wildcards):
    name = wildcards.set
    words = ["comnet", "report", place("report", f"{name}.html"), "-i", images_of(name), "--title", f"Study: {name}"]
    words += ["-pred", *dict.fromkeys([final_masks(name), predicted(name)])]
    if reference_of(name):
        words += ["-ref", reference_of(name), "--evaluation", final_masks(name)]
    return [*words, "--figures", place("cv_report", "figures"), "--tables", place("cv_report")]


rule report:
    input:
        lambda wildcards: (
            f"done/evaluate/{wildcards.set}.done" if reference_of(wildcards.set) else masks_are_final(wildcards)
        ),
        "done/cv_report.done",
    output:
        touch("done/report/{set}.done"),
    log:
        "logs/report_{set}.log",
    params:
        command=report_command,
    threads: threads_of("score")
    resources:
        mem_mb=memory_of("score"),
        runtime=minutes_of("score"),
    shell:
        "{params.command:q} --jobs {threads} >> {log:q} 2>&1"
