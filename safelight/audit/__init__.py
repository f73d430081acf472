"""The audit log: content-free lines in files that cannot be changed, cut or removed unnoticed.

Each worker of a service appends to a file of its own. Every line holds the SHA-256 of the line before it, and some lines
are signed (Ed25519): the first, the checkpoints, and the last. Each signed line is entered in `index.jsonl`, a chain of
its own in which every line is signed and which all workers share, and each checkpoint names the index entry before it:
so files vouch for the index, and the index for the files.

`python -m safelight.audit verify` says whether all of that holds. What it can and cannot show: docs/audit.md. Knows
nothing of what the lines are about.
"""

from safelight.audit.index import Index
from safelight.audit.key import AuditKey, read_public_key
from safelight.audit.log import AuditLog
from safelight.audit.verify import Report, verify

__all__ = ["AuditKey", "AuditLog", "Index", "Report", "read_public_key", "verify"]
