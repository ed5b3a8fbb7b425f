"""Plugins: found without being imported, loaded in phases, started and stopped one by one.

- :mod:`~thea_core.plugins.discovery` tells what is installed, from metadata alone;
- :mod:`~thea_core.plugins.compatibility` refuses what cannot work, before it is imported;
- :mod:`~thea_core.plugins.loading` imports and constructs one plugin, and explains what went wrong;
- :mod:`~thea_core.plugins.inspection` does the same in a child process, with a time limit;
- :mod:`~thea_core.plugins.status` keeps what became of each plugin the last time;
- :mod:`~thea_core.plugins.installing` runs pip.
"""
