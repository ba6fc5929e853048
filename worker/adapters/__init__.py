"""Adapters: each lets the workers of one framework report as beanwatch's own do.

A framework is imported only by its adapter, and an adapter only by those who use it.
"""
