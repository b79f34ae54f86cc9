"""Whether a classifier's own confidence would have warned, and what survives saving."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from evofool.report.plots import confidence_strips
from evofool.studies.audit.result import Found, Section, Survival, confidence_text, percent
from evofool.studies.audit.subject import Audited
from evofool.studies.certainty import auroc
from evofool.studies.study import Cell, Column, Row, Table

_KEPT = 0.95
_NAMES = {
    "direct": "evolved pixels",
    "cppn": "evolved patterns",
    "uniform_noise": "uniform noise",
    "gaussian_noise": "Gaussian noise",
    "attacked": "changed along gradients",
    "asked": "changed by asking",
}
_WARNED = {
    "images": Column("images"),
    "count": Column("count", "{:,}".format),
    "median": Column("median confidence", confidence_text),
    "auroc": Column("AUROC", "{:.3f}".format),
    "warned": Column("would be rejected", percent),
}
_SURVIVAL = {
    "by": Column("attack"),
    "made": Column("misled, as computed", "{:,}".format),
    "saved": Column("of these, as saved", "{:,}".format),
    "share": Column("share", percent),
}


def warning(audited: Audited, confidences: Mapping[str, Float[np.ndarray, " _n"]]) -> Found:
    """Tell the test images from the others by the highest confidence, as Hendrycks & Gimpel (ICLR 2017).

    Args:
        audited: the classifier.
        confidences: the highest confidences in images that should not be recognised, at least one, by what
            they are.
    """
    data = audited.confidences.max(axis=1)
    threshold = float(np.quantile(data, 1 - _KEPT))
    rows = [Row({"images": "test images", "count": len(data), "median": float(np.median(data))})]
    figures, evolved = {}, []
    for kind, values in confidences.items():
        warned = values < threshold
        figures[f"auroc_{kind}"] = auroc(data, values)
        if kind in ("direct", "cppn"):
            evolved.append(warned)
        cells: dict[str, Cell] = {
            "images": _NAMES[kind],
            "count": len(values),
            "median": float(np.median(values)),
        }
        rows.append(Row(cells | {"auroc": figures[f"auroc_{kind}"], "warned": float(warned.mean())}))
    if evolved:
        figures["warned"] = float(np.concatenate(evolved).mean())
    shown = {"test images": data} | {_NAMES[kind]: values for kind, values in confidences.items()}
    title = "Would its confidence have warned?"
    sentences = [
        f"A threshold of {confidence_text(threshold)} keeps {_KEPT:.0%} of the test images. "
        + (
            f"It would reject {percent(figures['warned'])} of the evolved images: the confidence of the "
            "others is as high as that of real ones."
            if evolved
            else ""
        ),
        "The AUROC is the chance that the classifier is more confident about a test image than about one of "
        "these: 0.5 is a coin, and below that nonsense is what it is surest of.",
    ]
    plot = partial(confidence_strips, shown, threshold=threshold)
    tables = {"Told from test images by the confidence": Table(_WARNED, rows)}
    return Found(Section(title, sentences, plots={title: plot}, tables=tables), figures, 0)


def surviving(survival: Sequence[Survival]) -> Found:
    """How many images still mislead once they are saved with 8 bits.

    Args:
        survival: of each attack, at least one.
    """
    rows = [Row({**each._asdict(), "share": each.share}) for each in survival]
    sentences = [
        "Attacks compute with more digits than a PNG holds. Only what still misleads with 8 bits can be sent "
        "to anyone. Evolved images are rounded before they are scored, so all of them survive."
    ]
    table = Table(_SURVIVAL, rows)
    return Found(Section("What survives saving", sentences, tables={"What survives saving": table}), {}, 0)
