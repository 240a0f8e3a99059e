"""The worker: keeps the queue of jobs, and runs each in a confined child process. `workflows/` has what they do."""
