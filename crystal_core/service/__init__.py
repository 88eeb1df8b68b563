"""The app as a service: who may reach it, what its answers allow a browser to do, and
whose runs are whose.
"""
