"""Vision-language models that read a picture into JSON: families, adapters, data, Lightning module, export."""
