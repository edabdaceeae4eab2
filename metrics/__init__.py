"""The metrics that score descriptions."""

if __name__ != "dissectbench.metrics":
    raise ImportError("this folder is the package dissectbench.metrics: import it by that name")
