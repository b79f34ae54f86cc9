"""The audit of a classifier: how easily is it fooled?"""

from evofool.studies.audit.audit import audit
from evofool.studies.audit.options import AuditOptions
from evofool.studies.audit.result import FIGURES, AuditResult

__all__ = ["FIGURES", "AuditOptions", "AuditResult", "audit"]
