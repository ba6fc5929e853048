"""Decoders for the jobs of other frameworks. An application registers one with `app.decoder`."""

from beanwatch.worker.decoders.laravel import decode_laravel

DECODERS = (decode_laravel,)  # all that beanwatch ships

__all__ = ["DECODERS", "decode_laravel"]
