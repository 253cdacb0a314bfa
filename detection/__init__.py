"""Images to boxes to average precision: detectors, VOC data, evaluation."""
