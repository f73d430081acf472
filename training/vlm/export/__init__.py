"""A SmolVLM-architecture model as three ONNX graphs, its LoRA adapters as inputs of them, and the proof that they answer as
torch does."""
