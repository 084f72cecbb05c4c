# What is said at the end of a run in which jobs failed: which ones, and how their logs end.
onerror:
    print(failure_summary(workflow.scheduler.failed), file=sys.stderr, flush=True)
