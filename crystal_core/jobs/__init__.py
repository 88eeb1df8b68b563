"""Runs that outlive their page: a queue in SQLite, one worker process per device, result files."""
