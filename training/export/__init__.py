"""Networks to ONNX, and the proof that the graph answers as the network does."""
