"""`python -m wellspring.cli`."""

from wellspring.cli import main

if __name__ == "__main__":
    main()
