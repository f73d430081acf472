"""Data on its way to a learner: vendors' annotation formats at the edge, one internal form behind it."""
