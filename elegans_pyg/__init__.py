"""The wiring diagram of *C. elegans* as trainable networks on PyTorch Geometric.

Start from :mod:`elegans_pyg.datasets` (connectomes and ensembles of wirings), :mod:`elegans_pyg.transforms` (graph to DAG),
:mod:`elegans_pyg.nn` (the DAG engine) and :mod:`elegans_pyg.models` (whole networks). Importing this package does nothing else.
"""

__version__ = "0.1.0"
