"""The program `gradengine`: its commands, the demo and its picture, diagnostics and the self-test.

Floor 7: stands on everything.
"""
