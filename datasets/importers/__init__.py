"""Importers of other tuners' logs; no other tool needs to be installed."""

from foretune.datasets.importers.report import BadLine, ImportReport
from foretune.datasets.importers.run import FORMATS, import_logs

__all__ = ["FORMATS", "BadLine", "ImportReport", "import_logs"]
