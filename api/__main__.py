"""`python -m api` is `robot-jobs`."""

from api.cli import main

main()
