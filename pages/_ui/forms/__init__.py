"""Parts of the forms that ask for a run."""
