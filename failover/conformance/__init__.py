"""Examines any subscriber for what JSON-RPC 2.0 and the OpenSIPS wire ask of one, clause by clause, with evidence.

```python
report = examine("127.0.0.1", 8080, method="E_ACC_CDR", params={"callid": "a84b4c", "duration": 35})
assert report.ok, report.explain()
```
"""

from __future__ import annotations

from failover.conformance.clauses import Clause
from failover.conformance.examination import CLAUSES, Examination, UnreachableError, examine, examine_clause
from failover.conformance.junit import junit
from failover.conformance.results import Report, Result, Verdict
from failover.conformance.subject import Subject, Traits

__all__ = [
    "CLAUSES",
    "Clause",
    "Examination",
    "Report",
    "Result",
    "Subject",
    "Traits",
    "UnreachableError",
    "Verdict",
    "examine",
    "examine_clause",
    "junit",
]
