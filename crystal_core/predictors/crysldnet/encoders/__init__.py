"""Graph networks that turn a crystal into one feature row per atom: the published forms, computed faster."""
