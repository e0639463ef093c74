"""The practice broker that every client here asks: a real daemon, found by the environment, as an app."""

from broker.testing.fixtures import keyfob

__all__ = ["keyfob"]
