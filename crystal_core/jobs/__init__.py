"""Runs that outlive the page that started them: a queue in SQLite, one worker process per
device, results as files.
"""
