"""Prepares the model repository: fetches weights, converts them, checks them, writes down what they are.

Offline tool: nothing here is imported while serving. TensorFlow and MXNet are only ever imported in child
processes (`child.py`), so that they never meet and their memory is given back.
"""
