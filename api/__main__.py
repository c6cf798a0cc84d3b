"""`python -m api` is `robot-jobs`."""

import gc

gc.disable()  # imports make much and drop nothing; what runs for long switches it on again

from api.cli import main  # noqa: E402 -- after the line above

main()
