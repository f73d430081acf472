"""Pictures read into JSON: what a task is, when an answer holds, how a picture becomes an input, when one is too poor.

Shared by training, export and serving; light to import.
"""
