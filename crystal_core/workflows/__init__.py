"""What a user asks for, end to end: each workflow takes a request and yields updates; jobs and the command line run it."""
