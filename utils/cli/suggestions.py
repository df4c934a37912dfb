"""Say what to type in place of an unknown option: our name for what other tools call otherwise, or the nearest one."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import is_dataclass

from utils.config.loading import KEYS

HELP = "--help lists the options"

ELSEWHERE = {
    "source": "i image images imgs img_dir image_dir image_path input input_dir input_folder folder path video_path "
    "video_input",
    "data": "d dataset data_dir dataset_dir data_root root",
    "conf": "t confidence confidence_threshold conf_threshold score_thr score_thresh score_threshold thr threshold "
    "box_threshold min_score",
    "imgsz": "img img_size image_size input_size resolution size",
    "batch_size": "bs batchsize samples_per_gpu",
    "yolo_weights": "m w model weights checkpoint ckpt det_model detector yolo yolo_model",
    "sam_weights": "sam sam2 sam_model sam2_model sam_checkpoint sam2_checkpoint",
    "output": "out out_dir outdir output_dir work_dir save_dir save_path project dest target_dir",
    "config": "cfg config_file",
    "set": "cfg_options opts options override",
    "classes": "class class_filter filter_classes",
    "device": "gpu gpus cpu cuda",
    "precision": "half fp16 bf16 amp dtype",
    "format": "f labelme to export export_format annotation_format save_txt save_json",
    "prompt": "prompt_file boxes_file box_file bboxes predictions",
    "annotations": "annotation_dir ann_dir",
    "keyframe_interval": "stride vid_stride frame_stride",
    "overwrite": "force force_overwrite exist_ok",
    "video": "track tracker",
    "version": "v",
    "dry_run": "dry simulate",
    "detector.slice": "slice_size slice_height slice_width",
    "detector.overlap": "overlap_ratio overlap_height_ratio overlap_width_ratio",
    "detector.iou": "iou_thres iou_thresh iou_threshold nms nms_threshold",
    "dataset.classes": "class_names labels names names_file labels_file ontology",
    "auto_mask.splits": "split_ratio train_ratio val_ratio",
    "predictor.line_width": "line_thickness thickness",
    "predictor.opacity": "alpha",
}
"""An option without its dashes, or a config key -> what other tools call it."""

ANSWERS = {
    "resume": "the same command again goes on where annotating or training was stopped",
    "eval metrics task mode": "each task is a script: yolo_sam.py evaluates, yolo_sam_visual.py renders overlays, "
    "yolo_sam_auto_anno_generator.py annotates",
    "launcher local_rank nproc nproc_per_node world_size": "torchrun starts several processes; docs/distributed.md",
    "augment tta": "there is none here; boxes found so can be read from a file by -p",
    "hide_labels hide_conf save_conf": "--set predictor.show=masks,boxes says what overlays show; annotations keep "
    "scores in any case",
    "show show_dir view_img save_img visualize vis": "overlays are files; --also visual makes them in any run",
    "polygon polygons": "--format labelme-polygon writes polygons",
}
"""Names of options that have no counterpart -> what to do instead."""

_OURS = {other: ours for ours, others in ELSEWHERE.items() for other in others.split()}
_ANSWERS = {name: answer for names, answer in ANSWERS.items() for name in names.split()}


def suggest(name: str, value: str, options: Collection[str], section: str) -> str:
    """Return what to type in place of an unknown option, or where to look.

    Args:
        name: without dashes at its start, with `_` between words.
        value: what was given for it; `...` where nothing was.
        options: the long options that the command has, without dashes at their start.
        section: the section of the config whose keys come first.
    """
    # Of keys with the same name the last is suggested: the command's own section is sorted last, finetuning first.
    keys = [key for key in KEYS if not is_dataclass(KEYS[key].annotation)]
    keys.sort(key=lambda key: (key.startswith(f"{section}."), not key.startswith("finetune.")))
    texts = {key.rpartition(".")[2]: f"--set {key}={value}" for key in keys}
    texts |= {key: f"--set {key}={value}" for key in keys}
    texts |= {option: f"--{option.replace('_', '-')}" for option in options}
    for other, ours in _OURS.items():
        if ours in options or "." in ours or (ours in texts and other not in texts):
            texts[other] = texts[ours]
    if name in _ANSWERS and name not in options:
        return _ANSWERS[name]
    close = difflib.get_close_matches(name, texts, n=1, cutoff=0.65)
    return f"did you mean {texts[close[0]]}?" if close else HELP
