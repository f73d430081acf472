"""Detection of objects as boxes: network, assignment, loss, data, Lightning module and metrics."""
