"""What a user would serve an ONNX detector with instead, each written as its documentation recommends."""
