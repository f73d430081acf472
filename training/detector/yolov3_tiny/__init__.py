"""YOLOv3-tiny: network, decoding, loss, anchors, the authors' weights, and the detector they make together."""

from training.detector.yolov3_tiny.detector import YoloV3TinyDetector, pretrained
from training.detector.yolov3_tiny.loss import LossWeights
from training.detector.yolov3_tiny.network import YoloV3Tiny

__all__ = ["LossWeights", "YoloV3Tiny", "YoloV3TinyDetector", "pretrained"]
