"""Work from request to result: each workflow takes a request and yields updates; jobs and the
command line run it.
"""
