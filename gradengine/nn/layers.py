"""The former home of Linear and Sequential, for files that still import them from here."""

from gradengine.nn.containers import Sequential as Sequential
from gradengine.nn.linear import Linear as Linear
