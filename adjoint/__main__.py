"""``python -m adjoint``: the command line, see `adjoint.cli`."""

import sys

from adjoint.cli import main

sys.exit(main())
