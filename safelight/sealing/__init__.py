"""Sealed protocols, both ends of each. What is provably right opens; everything else looks the same from outside.

`messages` and `protocol` say what a sealed protocol is; `ohttp` and `aws` are two of them; `keys` keeps the private keys.
Knows nothing of images, routes or policy.
"""
