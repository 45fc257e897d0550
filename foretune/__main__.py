"""`python -m foretune`."""

from foretune.cli.app import main

main()
