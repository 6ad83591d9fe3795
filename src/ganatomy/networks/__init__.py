"""Torch modules that know no data."""

LITE0 = "EfficientNet-Lite0"  # as it is recorded that a training looked through it; here, where nothing needs torch
