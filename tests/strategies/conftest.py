"""Makes the helpers beside these tests, and those of the learning room, importable: pytest leaves them out."""

from __future__ import annotations

import sys
from pathlib import Path

here = Path(__file__).parent
sys.path[:0] = [str(here), str(here.parent / "learning")]
