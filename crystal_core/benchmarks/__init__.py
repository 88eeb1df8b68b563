"""What ``crystal-core benchmark`` runs."""
