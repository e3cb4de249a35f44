"""Frozen torchvision classifiers as feature extractors."""

from glimpse_env.backbone.torchvision import DEVIATION, MAP_NODES, MEAN, Backbone
from glimpse_env.backbone.weights import classifier, final_layer, find

__all__ = ["DEVIATION", "MAP_NODES", "MEAN", "Backbone", "classifier", "final_layer", "find"]
