"""Learners and what surrounds them: data, detectors, export, registry. Never imports serving."""
