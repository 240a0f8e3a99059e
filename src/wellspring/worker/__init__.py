"""The worker process: executes one job as the worker user. `workflows/` contains what the jobs do."""
