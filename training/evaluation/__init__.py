"""What there is to know of a trained detector: figures, thresholds, calibration, errors, speed, and the report of them."""
