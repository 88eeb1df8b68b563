"""The app as a service: who may reach it, what browsers may do, whose runs are whose."""
