"""Object detection: from a picture to `Detections`, and their form on the wire."""
