"""The public face: routes, answers, problems, OpenAPI. Knows nothing of BentoML."""
