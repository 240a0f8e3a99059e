"""`python -m wellspring_verify PACK --key VKEY_OR_FILE`."""

import sys

from wellspring_verify.cli import main

if __name__ == "__main__":
    sys.exit(main())
