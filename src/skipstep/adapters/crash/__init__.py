"""CRaSh and offsite-tuning: a large model's outer layers, trained on an emulator made of some of its layers."""

from .clustering import centre, neighbour_clusters
from .composition import Composition, dropping, middle_layers, outer_layers, sharing
from .emulator import Emulator, propose
from .features import pooled_features
from .full_model import write_plugged
from .importance import block_influence
from .layers import decoder_layers
from .outer_file import OuterLayers, read_outer_layers, save_outer_layers, write_outer_layers
from .plugging import PluggedLayers, plug, trained_outer_layers
from .selection import keep_centres, keep_influential, keep_uniform
from .similarity import layer_similarity, linear_cka
from .tuning import TuningProgress, tune

__all__ = [
    "Composition",
    "Emulator",
    "OuterLayers",
    "PluggedLayers",
    "TuningProgress",
    "block_influence",
    "centre",
    "decoder_layers",
    "dropping",
    "keep_centres",
    "keep_influential",
    "keep_uniform",
    "layer_similarity",
    "linear_cka",
    "middle_layers",
    "neighbour_clusters",
    "outer_layers",
    "plug",
    "pooled_features",
    "propose",
    "read_outer_layers",
    "save_outer_layers",
    "sharing",
    "trained_outer_layers",
    "tune",
    "write_outer_layers",
    "write_plugged",
]
