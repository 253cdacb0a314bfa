"""Detectors: a list of images to a list of `Detections`."""
