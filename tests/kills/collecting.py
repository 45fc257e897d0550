"""`foretune collect`, which takes times as they come: `python -m tests.kills.collecting OPTIONS`.

On a busy machine it would wait for quiet, minutes for each batch.
"""

from __future__ import annotations

import sys

from foretune.cli.app import main
from foretune.compiler.workloads import collection

if __name__ == "__main__":
    collection._QUIET_WAIT_SECS = 0.0
    sys.argv[1:1] = ["collect"]
    main()
