"""``python -m opea_core``: the command line."""

import sys

from opea_core.cli.main import main

sys.exit(main())
