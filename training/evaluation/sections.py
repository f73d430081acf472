"""The sections of the report, in words, tables and pictures. Knows nothing of files or HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.measure import Calibrated, Measured
from training.evaluation.report import Picture, Section, said
from training.evaluation.thresholds import Choice

_NAMES = {
    "map50": "mAP50",
    "map50_95": "mAP50-95",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "count_mae": "count error",
}


def measured(
    on: str,
    found: Measured,
    calibrated: Calibrated,
    choice: Choice,
    speed: Mapping[str, Any],
    drawn: Mapping[str, bytes],
    shown: Mapping[str, Sequence[Picture]],
) -> list[Section]:
    """All sections, those without content left out. drawn: charts by name. shown: the gallery's groups."""

    def chart(*names: tuple[str, str]) -> list[Picture]:
        return [Picture(drawn[name], caption) for name, caption in names]

    classes = _classes(found)
    of_classes = chart(
        ("precision_recall", "AP50 is COCO's, at IoU 0.5, whatever the IoU of the curve."),
        ("confusion", "Rows are what is there, columns what was answered; the colour is the share of a row."),
    )
    result = [
        _figures(found),
        _coco(found),
        Section("Thresholds", _chosen(choice), pictures=chart(("threshold", f"On {on} pictures."))),
        Section(classes.title, classes.note, classes.header, classes.rows, of_classes),
        Section(
            "Calibration",
            _calibration(calibrated, on),
            pictures=chart(("reliability", "Larger points stand for more detections.")),
        ),
        Section("Counts", _counts(found), pictures=chart(("counts", "Below the line too few are answered."))),
        Section("Best", "Highest F1, and of those most hits.", pictures=shown["best"], wide=True),
        Section("Worst", "Lowest F1, and of those most errors.", pictures=shown["worst"], wide=True),
        latency(speed),
    ]
    return [section for section in result if section.rows or section.pictures]


def latency(speed: Mapping[str, Any]) -> Section:
    """Milliseconds on this machine."""
    rows = []
    for name, key in (
        ("the network, one input", "network_input_ms"),
        ("a picture, decoded, to its boxes", "picture_ms"),
    ):
        if speed[key] is not None:
            values = speed[key]
            rows.append((name, said(values["p50"], 1), said(values["p95"], 1), str(values["count"])))
    note = (
        f"{speed['runtime']} on {speed['processor']}, {speed['threads']} threads, inputs of {speed['input_size']} pixels. "
        "A figure of this machine on that day; what is served runs on ONNX Runtime."
    )
    return Section("Latency", note, ("milliseconds", "p50", "p95", "looks"), rows)


def _figures(found: Measured) -> Section:
    rows = [
        (_NAMES.get(name, name), said(e["value"]), f"{e['low']:.3f} to {e['high']:.3f}")
        for name, e in found.figures.items()
    ]
    counting = found.counting()
    units = counting["units"]
    note = (
        f"Intervals: bootstrap over {units} {found.unit.replace('picture', 'pictures').replace('plot of', 'plots of')}."
    )
    if units == 1:
        note = f"There is but one {found.unit}, so that the intervals say nothing."
    return Section("Figures", note, ("figure", "value", "95 % interval"), rows)


def _coco(found: Measured) -> Section:
    names = [name.replace("_", " ") for name in found.coco.total]
    rows = [["", *(said(value) for value in found.coco.total.values())]]
    return Section("COCO's figures", "A dash: no true box is of that size.", ["", *names], rows)


def _classes(found: Measured) -> Section:
    header = ("class", "AP50", "AP50-95", "precision", "recall", "F1", "boxes", "threshold")
    keys = ("ap50", "ap50_95", "precision", "recall", "f1", "support", "threshold")
    rows = [(label, *(said(values[key]) for key in keys)) for label, values in found.per_class.items()]
    return Section("Classes", "Precision, recall and F1 at the class's threshold.", header, rows)


def _chosen(choice: Choice) -> str:
    if choice.val_f1 is None:
        return f"{choice.score:g}, from {choice.chosen_on}."
    own = f" {len(choice.per_class)} classes have one of their own." if choice.per_class else ""
    return f"{choice.score:g} for all classes, where F1 is greatest on validation ({choice.val_f1:.3f}).{own}"


def _calibration(calibrated: Calibrated, on: str) -> str:
    values = calibrated.values
    if calibrated.temperature is None:
        return (
            f"Expected calibration error {said(values['ece_before'])}. No temperature: validation has too few detections, "
            "or only right ones, or only wrong ones."
        )
    return (
        f"Temperature {calibrated.temperature:.3f}, fitted on {values['fitted_on']} validation detections. Expected "
        f"calibration error on {on}: {said(values['ece_before'])} raw, {said(values['ece_after'])} at the temperature; "
        f"on validation: {said(values['val_ece_before'])} and {said(values['val_ece_after'])}."
    )


def _counts(found: Measured) -> str:
    counting = found.counting()
    return (
        f"Mean absolute error {said(counting['mae'], 2)} a {found.unit}; bias {said(counting['bias'], 2)} "
        "(below zero: too few are answered)."
    )
