"""Networks whose weights other programs saved: one module per program, one `Layout` per network."""

from evofool.classifiers.importers import caffe, keras, torch
from evofool.classifiers.importers.layout import Layout

LAYOUTS: dict[str, Layout] = {
    layout.network: layout for layout in (*caffe.LAYOUTS, *keras.LAYOUTS, *torch.LAYOUTS)
}
"""The layouts by the name of the network that each holds."""

__all__ = ["LAYOUTS", "Layout"]
