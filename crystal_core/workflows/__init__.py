"""Work from request to result: workflows yield updates; jobs and the command line run them."""
