"""Residual networks for hub: `hub_resnet.model.ResNet` and its variants."""
